//! Expected texts in files: plans, descriptions. `UPDATE_GOLDENS=1` writes them anew; read the difference
//! before you commit it.

use std::fs;
use std::path::Path;

/// Compares `actual` with the file; panics with both.
#[track_caller]
pub fn check(file: &Path, actual: &str) {
    let actual = format!("{}\n", actual.trim_end());
    if std::env::var_os("UPDATE_GOLDENS").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().expect("a golden lies in a folder"))
            .expect("the folder can be made");
        fs::write(file, &actual).expect("a golden can be written");
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_else(|error| {
        panic!(
            "{}: {error} (UPDATE_GOLDENS=1 writes it)\n{actual}",
            file.display()
        )
    });
    assert!(
        expected == actual,
        "{} differs (UPDATE_GOLDENS=1 accepts it)\n--- expected\n{expected}--- actual\n{actual}",
        file.display()
    );
}

/// Replaces what changes from run to run: ports of the loopback, folders of this run, times.
pub fn scrub(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(scrub_word).collect();
        scrubbed.push_str(&words.join(" "));
        scrubbed.push('\n');
    }
    scrubbed
}

fn scrub_word(word: &str) -> String {
    if let Some(at) = word.find("127.0.0.1:") {
        let rest = word[at + 10..].trim_start_matches(|c: char| c.is_ascii_digit());
        return format!("{}127.0.0.1:PORT{}", &word[..at], scrub_word(rest));
    }
    let generated = crate::paths::data().display().to_string();
    let word = word.replace(generated.trim_start_matches('/'), "DATA");
    match word.find("/sluice-gateway-") {
        Some(at) => {
            let rest = word[at + 16..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            format!("SCRATCH{rest}")
        }
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_scrubbed_and_the_rest_stays() {
        assert_eq!(
            scrub("a 127.0.0.1:5432/shop b"),
            "a 127.0.0.1:PORT/shop b\n"
        );
    }
}
