//! Task texts as numbers: which words occur, and which word stands in which place. That is enough for instructions of one
//! form with different words in them, and needs no pretrained model.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Words beyond this place in a sentence count only as occurring.
const LONGEST: usize = 32;

/// The words of a dataset's task texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Every word in small letters, in alphabetical order.
    pub words: Vec<String>,
    /// Places in a sentence that are told apart.
    pub places: usize,
}

impl Vocabulary {
    /// Of these texts; `None` where there is nothing to tell apart.
    pub fn of(texts: &[String]) -> Option<Self> {
        let different: BTreeSet<&String> = texts.iter().collect();
        if different.len() < 2 {
            return None;
        }
        let words: BTreeSet<String> = texts.iter().flat_map(|text| words_of(text)).collect();
        let longest = texts.iter().map(|text| words_of(text).count()).max().unwrap_or(0);
        Some(Self { words: words.into_iter().collect(), places: longest.min(LONGEST) })
    }

    /// Numbers of an encoded text.
    pub fn width(&self) -> usize {
        self.words.len() * (self.places + 1)
    }

    /// Appends [`Self::width`] numbers to `to`: for every word how often it occurs, then for every place which word is there.
    /// Words that are not in the vocabulary count nowhere.
    pub fn encode(&self, text: &str, to: &mut Vec<f32>) {
        let at = to.len();
        to.resize(at + self.width(), 0.0);
        for (place, word) in words_of(text).enumerate() {
            let Ok(number) = self.words.binary_search(&word) else { continue };
            to[at + number] += 1.0;
            if place < self.places {
                to[at + (place + 1) * self.words.len() + number] = 1.0;
            }
        }
    }
}

fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_string()).collect()
    }

    #[test]
    fn the_same_words_in_another_order_are_another_text() {
        let two = texts(&["Put the red block left, the blue one right", "Put the blue block left, the red one right"]);
        let vocabulary = Vocabulary::of(&two).unwrap();
        assert_eq!(vocabulary.words, ["block", "blue", "left", "one", "put", "red", "right", "the"]);
        let encoded = |text: &str| {
            let mut numbers = Vec::new();
            vocabulary.encode(text, &mut numbers);
            assert_eq!(numbers.len(), vocabulary.width());
            numbers
        };
        let (a, b) = (encoded(&two[0]), encoded(&two[1]));
        assert_eq!(a[..8], b[..8]);
        assert_ne!(a, b);
        assert_eq!(encoded("put THE red... block left the blue one right"), a);
    }

    #[test]
    fn unknown_words_and_long_texts_do_no_harm() {
        let vocabulary = Vocabulary::of(&texts(&["a b", "b a"])).unwrap();
        let mut numbers = vec![7.0];
        vocabulary.encode("b x b b b", &mut numbers);
        // Twice in the places told apart would be places 0 and 1, of which the second is unknown.
        assert_eq!(numbers, [7.0, 0.0, 4.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn one_text_alone_says_nothing() {
        assert_eq!(Vocabulary::of(&texts(&["Move it", "Move it"])), None);
        assert_eq!(Vocabulary::of(&[]), None);
    }
}
