//! Reading Rust, as far as the rules need it: words, modules and paths, by text alone.

/// The text with comments and the insides of literals blanked out; lines stay lines.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let mut i = 0;
    while i < chars.len() {
        let is_word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    out.push(' ');
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => depth += 1,
                        ('*', '/') => depth -= 1,
                        _ => {
                            out.push(blank(at(i)));
                            i += 1;
                            continue;
                        }
                    }
                    out.push_str("  ");
                    i += 2;
                    if depth == 0 {
                        break;
                    }
                }
            }
            'r' if !is_word_before && (at(i + 1) == '"' || at(i + 1) == '#') => {
                let hashes = (i + 1..).take_while(|&j| at(j) == '#').count();
                if at(i + 1 + hashes) != '"' {
                    // A raw identifier.
                    out.push('r');
                    i += 1;
                    continue;
                }
                i += hashes + 2;
                let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|j| at(i + j) == '#');
                while i < chars.len() && !closes(i) {
                    out.push(blank(at(i)));
                    i += 1;
                }
                i += hashes + 1;
            }
            '"' => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    if at(i) == '\\' {
                        out.push(' ');
                        i += 1;
                    }
                    out.push(blank(at(i)));
                    i += 1;
                }
                i += 1;
            }
            // A character, not a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a word stands by itself.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
        })
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Where the block that opens at or after `at` ends.
fn block_end(code: &str, at: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[at..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// A `mod` of a file.
#[derive(Debug)]
pub struct Module<'a> {
    pub name: &'a str,
    /// The bytes of an inline module.
    pub body: Option<std::ops::Range<usize>>,
    pub is_test: bool,
}

pub fn modules(code: &str) -> Vec<Module<'_>> {
    (words(code, "mod"))
        .filter_map(|at| {
            let rest = code[at + 3..].trim_start();
            let name = &rest[..rest.find(|c| !is_word(c))?];
            let after = rest[name.len()..].trim_start();
            let attributes = code[..at].rsplit([';', '}', '{']).next().unwrap_or("");
            let body = match after.chars().next()? {
                ';' => None,
                '{' => Some(at..block_end(code, at)),
                _ => return None,
            };
            Some(Module {
                name,
                body,
                is_test: attributes.contains("cfg(test)"),
            })
        })
        .collect()
}

/// The paths that start at byte `at`, with braces multiplied out.
pub fn paths(code: &str, at: usize) -> Vec<Vec<String>> {
    fn tree(rest: &mut &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
        *rest = rest.trim_start();
        if let Some(inner) = rest.strip_prefix('{') {
            *rest = inner;
            loop {
                *rest = rest.trim_start();
                if rest.is_empty() || rest.starts_with('}') {
                    *rest = rest.get(1..).unwrap_or("");
                    return;
                }
                let before = rest.len();
                tree(rest, prefix, found);
                // Whatever follows an item, `as name` too, up to the next one.
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                *rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
                if rest.len() == before {
                    return;
                }
            }
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let mut path = prefix.to_vec();
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        *rest = &rest[end..];
        match rest.trim_start().strip_prefix("::") {
            Some(after) if end > 0 => {
                *rest = after;
                tree(rest, &path, found);
            }
            _ => found.push(path),
        }
    }
    let mut found = Vec::new();
    tree(&mut &code[at..], &[], &mut found);
    found
}

/// The module that a file is, from the root of its crate: `core/src/batch/key.rs` is
/// `["batch", "key"]`.
pub fn module_path(path: &str) -> Option<(&str, Vec<&str>)> {
    let (krate, inside) = path.split_once("/src/")?;
    let mut parts: Vec<&str> = inside.strip_suffix(".rs")?.split('/').collect();
    if matches!(parts.last(), Some(&"lib" | &"mod")) {
        parts.pop();
    }
    Some((krate, parts))
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = "a /* b /* c */ d */ 'e' '\\'' 'f: \"g\\\"h\" r#\"i\"j\"# r\"k\" // l\nm";
    let words: Vec<String> = (code(text).split_whitespace()).map(str::to_owned).collect();
    assert_eq!(words, ["a", "'f:", "m"]);
}
