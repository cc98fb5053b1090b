//! Whether Envoy will take a regular expression.
//!
//! Envoy's expressions are those of RE2 (<https://github.com/google/re2/wiki/Syntax>). It refuses a whole listener for one that is none, so
//! each is looked at before. The parser of the `regex` crate, which descends from RE2, does this, once what the two write differently is
//! brought into its form.

use std::fmt::Write as _;

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{Ast, RepetitionKind, RepetitionRange};
use regex_syntax::hir::translate::TranslatorBuilder;

/// How often RE2 repeats something at most, also by repetitions within each other.
const MAX_REPETITIONS: u32 = 1000;

/// Checks a regular expression.
///
/// # Errors
/// When it is none, with the reason.
pub(crate) fn check_regex(pattern: &str) -> Result<(), String> {
    let pattern = translated(pattern)?;
    let ast = ParserBuilder::new().octal(true).build().parse(&pattern).map_err(|error| error.kind().to_string())?;
    TranslatorBuilder::new().utf8(false).build().translate(&pattern, &ast).map_err(|error| error.kind().to_string())?;
    check_repetitions(&ast, 1)
}

/// The pattern in the syntax of the `regex` crate: what is a plain character to RE2 alone is escaped, quotations are resolved.
fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.char_indices().peekable();
    // Within a class: how many characters of it have passed.
    let mut class: Option<usize> = None;
    while let Some((start, c)) = chars.next() {
        if let Some(length) = &mut class {
            *length += 1;
        }
        match (c, class) {
            ('\\', _) => match chars.next() {
                None => return Err("trailing backslash".to_owned()),
                Some((_, 'Q')) if class.is_none() => {
                    let rest = &pattern[start + 2..];
                    let quoted = rest.split("\\E").next().unwrap_or_default();
                    out.push_str(&regex_syntax::escape(quoted));
                    let end = start + 2 + quoted.len() + "\\E".len();
                    while chars.next_if(|(position, _)| *position < end).is_some() {}
                }
                // Any byte.
                Some((_, 'C')) if class.is_none() => out.push('.'),
                Some((_, '1'..='9')) if !chars.peek().is_some_and(|(_, c)| matches!(c, '0'..='7')) => {
                    return Err("there are no references to groups".to_owned());
                }
                // Not the marks of word boundaries that they are to the crate.
                Some((_, c @ ('<' | '>'))) => out.push(c),
                Some((_, c)) => {
                    let _ = write!(out, "\\{c}"); // a String takes everything
                    // A name or a number in braces.
                    if matches!(c, 'p' | 'P' | 'x') && chars.next_if(|(_, c)| *c == '{').is_some() {
                        out.push('{');
                    }
                }
            },
            ('[', None) => {
                out.push('[');
                class = Some(0);
                if chars.next_if(|(_, c)| *c == '^').is_some() {
                    out.push('^');
                }
            }
            ('[', Some(_)) if pattern[start..].starts_with("[:") => {
                let name = pattern[start..].find(":]").map_or("[:", |length| &pattern[start..start + length + 2]);
                out.push_str(name);
                while chars.next_if(|(position, _)| *position < start + name.len()).is_some() {}
            }
            ('[' | '&' | '~', Some(_)) => {
                let _ = write!(out, "\\{c}");
            }
            // The first character is no end.
            (']', Some(length)) if length > 1 => {
                out.push(']');
                class = None;
            }
            (']', Some(_)) => out.push_str("\\]"),
            ('{', None) if !is_quantifier(&pattern[start..]) => out.push_str("\\{"),
            (c, _) => out.push(c),
        }
    }
    Ok(out)
}

/// True when the text begins with a count of repetitions: `{2}`, `{2,}` or `{2,3}`.
fn is_quantifier(text: &str) -> bool {
    let Some((inner, _)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inner.split_once(',') {
        Some((from, to)) => is_number(from) && (to.is_empty() || is_number(to)),
        None => is_number(inner),
    }
}

/// `outer` is how often what is around is repeated.
fn check_repetitions(ast: &Ast, outer: u32) -> Result<(), String> {
    match ast {
        Ast::Repetition(repetition) => {
            if matches!(*repetition.ast, Ast::Repetition(_)) {
                return Err("bad repetition operator: one follows the other".to_owned());
            }
            let times = match &repetition.op.kind {
                RepetitionKind::Range(
                    RepetitionRange::Exactly(times)
                    | RepetitionRange::AtLeast(times)
                    | RepetitionRange::Bounded(_, times),
                ) => (*times).max(1),
                _ => 1,
            };
            let times = times.saturating_mul(outer);
            if times > MAX_REPETITIONS {
                return Err(format!("more than {MAX_REPETITIONS} repetitions"));
            }
            check_repetitions(&repetition.ast, times)
        }
        Ast::Group(group) => check_repetitions(&group.ast, outer),
        Ast::Alternation(alternation) => alternation.asts.iter().try_for_each(|ast| check_repetitions(ast, outer)),
        Ast::Concat(concat) => concat.asts.iter().try_for_each(|ast| check_repetitions(ast, outer)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_takes() {
        for pattern in [
            "",
            "/v[0-9]+/.*",
            "^(?i:abc|d.f)$",
            "/users/{id}",
            "{",
            "a{,3}",
            "a{2}b{2,}c{2,3}",
            "[]a]",
            "[[a]",
            "[a&&b~~]",
            "[[:alpha:]_]+",
            r"\Qa.b(\E.*",
            r"\Q(",
            r"\C\pL\p{Greek}\d\x41\x{41}\101",
            r"\<a\>",
            "(?P<name>a)(?<other>b)",
            "a*?b+?c??",
            "(a{30}){30}",
        ] {
            assert_eq!(check_regex(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_envoy_refuses() {
        for pattern in
            ["(", ")", "[", "[z-a]", "*", "a**", "(?=a)", "(?<!a)", r"(a)\1", "a\\", "a{1001}", "(a{100}){11}", r"\pX"]
        {
            assert!(check_regex(pattern).is_err(), "{pattern}");
        }
    }
}
