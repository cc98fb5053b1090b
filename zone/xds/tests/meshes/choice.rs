//! Decisions read from a number.

/// What is left of a number; zero gives the first of all possibilities.
#[derive(Debug, Clone, Copy)]
pub struct Choice(pub u128);

impl Choice {
    /// One of some possibilities.
    pub fn of<T: Clone>(&mut self, possibilities: &[T]) -> T {
        possibilities[self.below(possibilities.len())].clone()
    }

    /// A number below another one.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u128;
        let chosen = self.0 % limit;
        self.0 /= limit;
        chosen as usize
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
}
