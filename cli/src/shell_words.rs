//! Splits a command as a shell would, without running one (sops-format.md 9.3).

/// Splits at blanks outside quotes; backslash escapes outside single quotes.
///
/// Returns `None` when a quote is not closed or the text ends in a backslash. Variables and
/// patterns are not expanded.
pub(crate) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        // POSIX 2.2.3: only these are escaped between double quotes.
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            '\n' => {}
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, words) in [
            ("", &[][..]),
            ("a  b\tc", &["a", "b", "c"]),
            (r#"a 'b c' "d e"f"#, &["a", "b c", "d ef"]),
            (r#"a\ b "\"\n" '\'"#, &["a b", r#""\n"#, r"\"]),
            (r#"'' """#, &["", ""]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for text in ["'a", "\"a", "a\\"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
