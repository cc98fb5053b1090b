//! Pages of lists: `size`, `offset` and the link to the next page.

use http::{StatusCode, Uri};

use super::{first, parameters};
use crate::problem::Problem;

/// Title of everything that goes wrong with a list.
pub const LIST_TITLE: &str = "Could not retrieve resources";

/// Items on a page when the request does not say.
pub const DEFAULT_SIZE: usize = 100;
/// Most items on a page that a request may ask for by number.
pub const MAX_SIZE: usize = 1000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Items on a page; `None` for all.
    pub size: Option<usize>,
    /// Items before the page.
    pub offset: usize,
}

impl Page {
    /// Reads `size` and `offset`.
    ///
    /// # Errors
    /// 400 with Kuma's texts; a negative number, which upstream does not survive, is refused too.
    pub fn read(query: Option<&str>) -> Result<Page, Problem> {
        let parameters = parameters(query);
        let size = match first(&parameters, "size").filter(|text| !text.is_empty()) {
            None => DEFAULT_SIZE,
            Some(text) => match text.parse::<i64>() {
                Err(_) => return Err(invalid_size("invalid format")),
                Ok(size) => match usize::try_from(size) {
                    Err(_) => return Err(invalid_size("must not be negative")),
                    Ok(size) if size > MAX_SIZE => {
                        return Err(invalid_size(&format!(
                            "invalid page size of {size}. Maximum page size is {MAX_SIZE}"
                        )));
                    }
                    Ok(size) => size,
                },
            },
        };
        if size == 0 {
            return Ok(Page { size: None, offset: 0 });
        }
        let offset = match first(&parameters, "offset").filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => match text.parse::<i64>() {
                Err(_) => return Err(invalid_offset(&format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
                Ok(offset) => usize::try_from(offset).map_err(|_| invalid_offset("must not be negative"))?,
            },
        };
        Ok(Page { size: Some(size), offset })
    }

    /// Most items that the page has room for.
    pub fn room(&self) -> usize {
        self.size.unwrap_or(usize::MAX)
    }

    /// Whether the item with this number, counted from 0, is on the page.
    pub fn shows(&self, number: usize) -> bool {
        number.checked_sub(self.offset).is_some_and(|place| place < self.room())
    }

    /// The offset of the next page of a list of `total` items, if there is one.
    pub fn next(&self, total: usize) -> Option<usize> {
        let end = self.offset.saturating_add(self.size?);
        (end < total).then_some(end)
    }

    /// The items of this page, and the offset of the next page if there is one.
    pub fn cut<'a, T>(&self, items: &'a [T]) -> (&'a [T], Option<usize>) {
        let Some(size) = self.size else { return (items, None) };
        let start = self.offset.min(items.len());
        let end = start.saturating_add(size).min(items.len());
        (&items[start..end], (end < items.len()).then_some(end))
    }
}

fn invalid_size(reason: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, LIST_TITLE, "Invalid page size").with_parameter("size", reason)
}

fn invalid_offset(reason: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, LIST_TITLE, format!("invalid: invalid offset: {reason}"))
}

/// The link to the page at `offset`: the request's own address with that offset, parameters sorted by name.
///
/// `origin` is `scheme://host:port` as the client addressed this server.
pub fn next_link(origin: &str, uri: &Uri, offset: usize) -> String {
    let mut parameters = parameters(uri.query());
    parameters.retain(|(key, _)| key != "offset");
    parameters.push(("offset".to_owned(), offset.to_string()));
    parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{origin}{}?{query}", uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let items: Vec<u8> = (0..5).collect();
        let page = |query: &str| Page::read(Some(query)).expect("valid");
        assert_eq!(page("").cut(&items), (&items[..], None));
        assert_eq!(page("size=2").cut(&items), (&items[..2], Some(2)));
        assert_eq!(page("size=2&offset=4").cut(&items), (&items[4..], None));
        assert_eq!(page("size=2&offset=9").cut(&items), (&items[5..], None));
        assert_eq!(page("size=0&offset=x").cut(&items), (&items[..], None));
        assert_eq!(page("size=5").cut(&items), (&items[..], None));
        assert_eq!(page("size=1000&offset=9223372036854775807").cut(&items), (&items[5..], None));
    }

    #[test]
    fn places_on_a_page() {
        let page = Page { size: Some(2), offset: 3 };
        assert_eq!((0..7).filter(|number| page.shows(*number)).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((page.next(6), page.next(5), page.next(0)), (Some(5), None, None));
        let all = Page { size: None, offset: 0 };
        assert!(all.shows(0) && all.shows(1 << 40));
        assert_eq!(all.next(1 << 40), None);
        assert_eq!(Page { size: Some(1), offset: usize::MAX }.next(usize::MAX), None);
    }

    #[test]
    fn refusals() {
        let refused = |query: &str| Page::read(Some(query)).expect_err(query);
        assert_eq!(refused("size=x").parameters[0].reason, "invalid format");
        assert_eq!(refused("size=2000").parameters[0].reason, "invalid page size of 2000. Maximum page size is 1000");
        assert_eq!(refused("size=-1").parameters[0].field, "size");
        assert_eq!(
            refused("offset=abc").detail,
            r#"invalid: invalid offset: strconv.Atoi: parsing "abc": invalid syntax"#
        );
        assert_eq!(refused("offset=-1").status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn link_keeps_the_other_parameters_sorted() {
        let uri: Uri = "/meshes?size=1&name=r&foo=bar&filter[labels.team]=x&offset=0".parse().expect("a URI");
        assert_eq!(
            next_link("http://localhost:5681", &uri, 1),
            "http://localhost:5681/meshes?filter%5Blabels.team%5D=x&foo=bar&name=r&offset=1&size=1"
        );
    }
}
