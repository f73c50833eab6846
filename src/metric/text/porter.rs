//! Porter's stemmer (1980) with NLTK's extensions, which is what rouge_score uses.

/// What a suffix becomes, and what must hold of the word before it.
type Rule = (&'static str, &'static str, fn(&str) -> bool);

const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

const PLURALS: [Rule; 4] = [("sses", "ss", always), ("ies", "i", always), ("ss", "ss", always), ("s", "", always)];

/// Steps 2 and 3: one suffix for another.
const LONG_SUFFIXES: [Rule; 22] = [
    ("ational", "ate", has_measure),
    ("tional", "tion", has_measure),
    ("enci", "ence", has_measure),
    ("anci", "ance", has_measure),
    ("izer", "ize", has_measure),
    ("bli", "ble", has_measure),
    ("alli", "al", has_measure),
    ("entli", "ent", has_measure),
    ("eli", "e", has_measure),
    ("ousli", "ous", has_measure),
    ("ization", "ize", has_measure),
    ("ation", "ate", has_measure),
    ("ator", "ate", has_measure),
    ("alism", "al", has_measure),
    ("iveness", "ive", has_measure),
    ("fulness", "ful", has_measure),
    ("ousness", "ous", has_measure),
    ("aliti", "al", has_measure),
    ("iviti", "ive", has_measure),
    ("biliti", "ble", has_measure),
    ("fulli", "ful", has_measure),
    // The `l` belongs to the stem here, so that short stems such as `geo` count.
    ("logi", "log", |stem| measure(&format!("{stem}l")) > 0),
];

const SHORT_SUFFIXES: [Rule; 7] = [
    ("icate", "ic", has_measure),
    ("ative", "", has_measure),
    ("alize", "al", has_measure),
    ("iciti", "ic", has_measure),
    ("ical", "ic", has_measure),
    ("ful", "", has_measure),
    ("ness", "", has_measure),
];

/// Step 4: suffixes that go.
const ENDINGS: [Rule; 19] = [
    ("al", "", is_long),
    ("ance", "", is_long),
    ("ence", "", is_long),
    ("er", "", is_long),
    ("ic", "", is_long),
    ("able", "", is_long),
    ("ible", "", is_long),
    ("ant", "", is_long),
    ("ement", "", is_long),
    ("ment", "", is_long),
    ("ent", "", is_long),
    ("ion", "", |stem| is_long(stem) && stem.ends_with(['s', 't'])),
    ("ou", "", is_long),
    ("ism", "", is_long),
    ("ate", "", is_long),
    ("iti", "", is_long),
    ("ous", "", is_long),
    ("ive", "", is_long),
    ("ize", "", is_long),
];

/// The stem of a word in lower case.
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return word.to_owned();
    }
    let word = without_plural(word);
    let word = without_participle(&word);
    let word = y_to_i(&word);
    let word = replace(&doubled_ally(word), &LONG_SUFFIXES);
    let word = replace(&word, &SHORT_SUFFIXES);
    let word = replace(&word, &ENDINGS);
    let word = without_final_e(&word);
    replace(word, &[("ll", "l", |stem| measure(&format!("{stem}l")) > 1)])
}

/// The first rule whose suffix fits decides, also when its condition does not hold.
fn replace(word: &str, rules: &[Rule]) -> String {
    for (suffix, replacement, condition) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if condition(stem) { format!("{stem}{replacement}") } else { word.to_owned() };
        }
    }
    word.to_owned()
}

/// Step 1a.
fn without_plural(word: &str) -> String {
    match word.strip_suffix("ies") {
        Some(stem) if stem.chars().count() == 1 => format!("{stem}ie"),
        _ => replace(word, &PLURALS),
    }
}

/// Step 1b: `-eed`, `-ed`, `-ing`.
fn without_participle(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return if stem.chars().count() == 1 { format!("{stem}ie") } else { format!("{stem}i") };
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word.to_owned() };
    }
    let shortened = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix).filter(|stem| has_vowel(stem)));
    let Some(stem) = shortened else { return word.to_owned() };
    if ["at", "bl", "iz"].iter().any(|ending| stem.ends_with(ending)) {
        format!("{stem}e")
    } else if ends_in_double_consonant(stem) {
        let keep = stem.ends_with(['l', 's', 'z']);
        let mut chars = stem.chars();
        if !keep {
            chars.next_back();
        }
        chars.as_str().to_owned()
    } else if measure(stem) == 1 && ends_in_short_syllable(stem) {
        format!("{stem}e")
    } else {
        stem.to_owned()
    }
}

/// Step 1c: `y` after a consonant that is not the first letter.
fn y_to_i(word: &str) -> String {
    let after_consonant = |stem: &str| stem.chars().count() > 1 && consonants(stem).last() == Some(&true);
    match word.strip_suffix('y') {
        Some(stem) if after_consonant(stem) => format!("{stem}i"),
        _ => word.to_owned(),
    }
}

/// NLTK applies `alli` before the other rules of step 2, as often as it fits.
fn doubled_ally(mut word: String) -> String {
    while word.strip_suffix("alli").is_some_and(|stem| measure(stem) > 0) {
        word.truncate(word.len() - "li".len());
    }
    word
}

/// Step 5a.
fn without_final_e(word: &str) -> &str {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_in_short_syllable(stem)) => stem,
        _ => word,
    }
}

fn always(_: &str) -> bool {
    true
}

fn has_measure(stem: &str) -> bool {
    measure(stem) > 0
}

fn is_long(stem: &str) -> bool {
    measure(stem) > 1
}

/// For every letter whether it is a consonant: not `aeiou`, and `y` only at the beginning or after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags = Vec::with_capacity(word.len());
    for letter in word.chars() {
        flags.push(match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => !flags.last().copied().unwrap_or(false),
            _ => true,
        });
    }
    flags
}

/// How often a vowel is followed by a consonant.
fn measure(word: &str) -> usize {
    consonants(word).windows(2).filter(|pair| *pair == [false, true]).count()
}

fn has_vowel(word: &str) -> bool {
    consonants(word).contains(&false)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let mut last = word.chars().rev();
    last.next().is_some_and(|letter| last.next() == Some(letter)) && consonants(word).last() == Some(&true)
}

/// Consonant, vowel, consonant other than `w`, `x`, `y`; or a word of one vowel and one consonant.
fn ends_in_short_syllable(word: &str) -> bool {
    let flags = consonants(word);
    match flags[..] {
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        [false, true] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_paper_and_of_nltk() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("feed", "feed"),
            ("agreed", "agre"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("relational", "relat"),
            ("vietnamization", "vietnam"),
            ("electrical", "electr"),
            ("adoption", "adopt"),
            ("probate", "probat"),
            ("cease", "ceas"),
            ("controlling", "control"),
            ("geologically", "geolog"),
            ("succeed", "succeed"),
            ("skies", "sky"),
            ("is", "is"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
