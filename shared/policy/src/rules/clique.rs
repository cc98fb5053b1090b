//! Maximal cliques: the largest groups of sets that all overlap each other.

/// All maximal cliques of a graph given by its adjacency matrix, by the algorithm of Bron and Kerbosch with pivoting.
/// The nodes of each clique are sorted; the order of the cliques is unspecified. `None` when there are more than `limit`,
/// since their number can grow exponentially with that of the nodes.
pub(super) fn maximal_cliques(adjacent: &[Vec<bool>], limit: usize) -> Option<Vec<Vec<usize>>> {
    let mut cliques = Vec::new();
    extend(adjacent, &mut Vec::new(), (0..adjacent.len()).collect(), Vec::new(), limit, &mut cliques);
    (cliques.len() <= limit).then_some(cliques)
}

fn extend(
    adjacent: &[Vec<bool>],
    clique: &mut Vec<usize>,
    mut candidates: Vec<usize>,
    mut excluded: Vec<usize>,
    limit: usize,
    cliques: &mut Vec<Vec<usize>>,
) {
    if cliques.len() > limit {
        return;
    }
    let neighbours = |nodes: &[usize], node: usize| -> Vec<usize> {
        nodes.iter().copied().filter(|other| adjacent[node][*other]).collect()
    };
    let pivot = candidates.iter().chain(&excluded).copied().max_by_key(|node| neighbours(&candidates, *node).len());
    let Some(pivot) = pivot else {
        if !clique.is_empty() {
            let mut clique = clique.clone();
            clique.sort_unstable();
            cliques.push(clique);
        }
        return;
    };
    let branches: Vec<usize> = candidates.iter().copied().filter(|node| !adjacent[pivot][*node]).collect();
    for node in branches {
        clique.push(node);
        extend(adjacent, clique, neighbours(&candidates, node), neighbours(&excluded, node), limit, cliques);
        clique.pop();
        candidates.retain(|candidate| *candidate != node);
        excluded.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cliques(nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let mut adjacent = vec![vec![false; nodes]; nodes];
        for (a, b) in edges {
            adjacent[*a][*b] = true;
            adjacent[*b][*a] = true;
        }
        let mut cliques = maximal_cliques(&adjacent, 100).expect("few cliques");
        cliques.sort();
        cliques
    }

    /// Nodes in groups of three, each adjacent to all nodes of other groups: a clique is a choice of one per group.
    #[test]
    fn graphs_with_too_many_cliques_are_given_up() {
        let adjacent = |nodes: usize| -> Vec<Vec<bool>> {
            (0..nodes).map(|a| (0..nodes).map(|b| a / 3 != b / 3).collect()).collect()
        };
        assert_eq!(maximal_cliques(&adjacent(9), 27).map(|cliques| cliques.len()), Some(27));
        assert_eq!(maximal_cliques(&adjacent(9), 26), None);
        assert_eq!(maximal_cliques(&adjacent(90), 1000), None);
    }

    #[test]
    fn cliques_of_small_graphs() {
        assert_eq!(cliques(0, &[]), Vec::<Vec<usize>>::new());
        assert_eq!(cliques(3, &[(0, 1), (0, 2)]), [[0, 1], [0, 2]]);
        assert_eq!(cliques(4, &[(0, 1), (1, 2), (0, 2)]), [vec![0, 1, 2], vec![3]]);
        assert_eq!(
            cliques(6, &[(0, 1), (0, 4), (1, 2), (1, 4), (2, 3), (3, 4), (3, 5)]),
            [vec![0, 1, 4], vec![1, 2], vec![2, 3], vec![3, 4], vec![3, 5]]
        );
    }
}
