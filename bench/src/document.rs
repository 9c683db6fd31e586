//! The part of a document that is written by a run, between two markers.

/// Before what is replaced.
pub const BEGIN: &str = "<!-- make bench writes from here -->";
/// Behind it.
pub const END: &str = "<!-- to here -->";

/// The document with `text` between its markers; none where it has not both, once and in order.
pub fn replaced(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    if after.contains(BEGIN) || after.contains(END) {
        return None;
    }
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_around_the_markers_stays() {
        let document = format!("# A\n\nprose\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let new = replaced(&document, "\nnew\n").unwrap();
        assert_eq!(new, format!("# A\n\nprose\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore\n"));
        assert_eq!(replaced(&new, "new").unwrap(), new, "writing it again changes nothing");
    }

    #[test]
    fn a_document_without_a_place_is_not_written() {
        for document in ["prose", BEGIN, &format!("{END}{BEGIN}"), &format!("{BEGIN}{END}{END}")] {
            assert_eq!(replaced(document, "new"), None, "{document}");
        }
    }

    #[test]
    fn the_published_page_has_a_place() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
        let document = std::fs::read_to_string(path).unwrap();
        assert!(replaced(&document, "new").is_some());
    }
}
