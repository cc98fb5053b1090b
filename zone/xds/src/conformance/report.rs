//! What came of comparisons with recorded results, and the table of all of them.
//!
//! Every test of a folder ends with [`Report::finish`], which prints one line for the table (`.ci/conformance` puts them
//! together) and what is behind it.

use std::path::PathBuf;

/// Begins the line of the table: folder, equal, different, not applicable, failed.
const ROW: &str = "conformance";

/// A folder of the data; `None`, with a message, when there is no data.
pub fn folder(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("CONFORMANCE_DIR") else {
        println!("skipped: CONFORMANCE_DIR is not set");
        return None;
    };
    let folder = PathBuf::from(root).join(name);
    assert!(folder.is_dir(), "CONFORMANCE_DIR has no folder {}", folder.display());
    Some(folder)
}

/// Results of one folder of cases.
pub struct Report {
    folder: String,
    equal: usize,
    different: Vec<(String, String)>,
    not_applicable: Vec<(String, String)>,
    failed: Vec<(String, Vec<String>)>,
}

impl Report {
    /// Results of a folder, named from the root of the data.
    pub fn new(folder: impl Into<String>) -> Self {
        Self { folder: folder.into(), equal: 0, different: Vec::new(), not_applicable: Vec::new(), failed: Vec::new() }
    }

    /// A case that has to be equal.
    pub fn case(&mut self, name: impl Into<String>, differences: Vec<String>) {
        if differences.is_empty() {
            self.equal += 1;
        } else {
            self.failed.push((name.into(), differences));
        }
    }

    /// A case that has to differ, for a reason that stands in `docs/compatibility.md`; one that is equal is a failure, as the
    /// reason no longer holds.
    #[allow(dead_code, reason = "not every user of this file has such a case")]
    pub fn different(&mut self, name: impl Into<String>, reason: impl Into<String>, differences: Vec<String>) {
        let (name, reason) = (name.into(), reason.into());
        if differences.is_empty() {
            self.failed.push((name, vec![format!("equal, but listed as different: {reason}")]));
        } else {
            self.different.push((name, reason));
        }
    }

    /// A case that needs something that does not exist here. It counts as equal when it is nevertheless.
    #[allow(dead_code, reason = "not every user of this file has such a case")]
    pub fn not_applicable(&mut self, name: impl Into<String>, reason: impl Into<String>, differences: Vec<String>) {
        if differences.is_empty() {
            self.equal += 1;
        } else {
            self.skip(name, reason);
        }
    }

    /// A case that is not compared.
    pub fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.not_applicable.push((name.into(), reason.into()));
    }

    /// Prints the result and fails the test if a case failed, or if there was none at all.
    pub fn finish(self) {
        let Self { folder, equal, different, not_applicable, failed } = &self;
        let counts = [*equal, different.len(), not_applicable.len(), failed.len()].map(|count| count.to_string());
        let mut text = format!("{ROW}\t{folder}\t{}\n", counts.join("\t"));
        for (title, cases) in [("different", different), ("not applicable", not_applicable)] {
            for (name, reason) in cases {
                text.push_str(&format!("  {title}: {folder}: {name}: {reason}\n"));
            }
        }
        for (name, differences) in failed {
            text.push_str(&format!("  failed: {folder}: {name}\n"));
            differences.iter().for_each(|difference| text.push_str(&format!("    {difference}\n")));
        }
        // At once, so that tests that run at the same time do not mix their lines.
        print!("{text}");
        assert!(failed.is_empty(), "{folder}: {} cases failed", failed.len());
        assert!(*equal + different.len() + not_applicable.len() > 0, "{folder}: no case was found");
    }
}
