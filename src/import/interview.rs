//! What no file tells: questions, each with the answer that is likely, and what was taken for granted.
//!
//! Reading a model is a function of the answers. It is done with the likely ones first, which brings up all questions
//! at once; then again with those that were given.

use std::collections::{BTreeMap, BTreeSet};

/// Something that has to be known and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name: `--declare KEY=VALUE` answers it.
    pub key: String,
    /// What is asked.
    pub text: String,
    /// What may be answered, each with what it means. Empty if it is free text.
    pub options: Vec<(String, String)>,
    /// The likely answer. Empty if none is: somebody who knows has to give it.
    pub likely: String,
}

/// The answers, and what was asked for them.
#[derive(Debug, Clone, Default)]
pub struct Interview {
    answers: BTreeMap<String, String>,
    /// Keys of answers that were given knowing what speaks against them.
    insisted: BTreeSet<String>,
    /// Keys of answers that nobody gave, because they were likely.
    taken: BTreeSet<String>,
    /// Questions without an answer.
    open: Vec<Question>,
    /// What was taken for granted, in sentences.
    assumed: Vec<String>,
    /// The same of likely answers, which are given once and for all.
    granted: Vec<String>,
    used: Vec<String>,
}

impl Interview {
    /// With these answers, which somebody gave without being asked, and so stands by.
    pub fn new(answers: BTreeMap<String, String>) -> Self {
        Self {
            insisted: answers.keys().cloned().collect(),
            answers,
            ..Self::default()
        }
    }

    /// The same answers, nothing asked yet.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            answers: self.answers.clone(),
            insisted: self.insisted.clone(),
            taken: self.taken.clone(),
            granted: self.granted.clone(),
            ..Self::default()
        }
    }

    /// Notes that the likely answer to a question was taken, and how another one is given.
    pub fn take_for_granted(&mut self, question: &Question) {
        let Question {
            key,
            text,
            options,
            likely,
        } = question;
        self.taken.insert(key.clone());
        let others: Vec<&str> = options
            .iter()
            .map(|option| &*option.0)
            .filter(|own| own != likely)
            .collect();
        let others = if others.is_empty() {
            "…".to_owned()
        } else {
            others.join(", ")
        };
        let end = if text.ends_with(['?', '.']) { "" } else { ":" };
        self.granted.push(format!(
            "{text}{end} {likely}, as is likely; --declare {key}=… says otherwise ({others})"
        ));
    }

    /// The same answers but for that to one question.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let mut own = self.again();
        own.answers.remove(key);
        own
    }

    /// Adds an answer.
    pub fn answer(&mut self, key: &str, value: &str) {
        self.answers.insert(key.to_owned(), value.to_owned());
    }

    /// Adds an answer that is stood by, whatever numbers look like.
    pub fn insist(&mut self, key: &str, value: &str) {
        self.answer(key, value);
        self.insisted.insert(key.to_owned());
    }

    /// Whether an answer is stood by.
    pub fn is_insisted(&self, key: &str) -> bool {
        self.insisted.contains(key)
    }

    /// Whether somebody gave an answer who stands by it, and it was not only likely.
    pub fn is_said(&self, key: &str) -> bool {
        self.is_insisted(key) && !self.taken.contains(key)
    }

    /// Adds what another one was asked for and took for granted.
    pub fn join(&mut self, other: &Self) {
        other.open.iter().cloned().for_each(|question| self.put(question));
        for sentence in &other.assumed {
            self.note(sentence);
        }
        self.used.extend(other.used.iter().cloned());
    }

    /// All answers.
    pub fn answers(&self) -> &BTreeMap<String, String> {
        &self.answers
    }

    /// An answer that was given without being asked for.
    pub fn given(&mut self, key: &str) -> Option<String> {
        let answer = self.answers.get(key).cloned();
        if answer.is_some() {
            self.used.push(key.to_owned());
        }
        answer
    }

    /// Asks; without an answer yet, the likely one, and the question stays open.
    pub fn ask(&mut self, key: &str, text: impl Into<String>, options: &[(&str, &str)], likely: &str) -> String {
        if let Some(answer) = self.given(key) {
            return answer;
        }
        let own = |&(value, meaning): &(&str, &str)| (value.to_owned(), meaning.to_owned());
        self.put(Question {
            key: key.to_owned(),
            text: text.into(),
            options: options.iter().map(own).collect(),
            likely: likely.to_owned(),
        });
        likely.to_owned()
    }

    /// Leaves a question open.
    pub fn put(&mut self, question: Question) {
        if !self.open.iter().any(|own| own.key == question.key) {
            self.open.push(question);
        }
    }

    /// Takes something for granted that hardly anybody has otherwise, unless it was answered.
    pub fn assume(&mut self, key: &str, value: &str, sentence: &str) -> String {
        if let Some(answer) = self.given(key) {
            return answer;
        }
        self.note(sentence);
        value.to_owned()
    }

    /// Notes what was taken for granted.
    pub fn note(&mut self, sentence: &str) {
        if !self.assumed.iter().any(|own| own == sentence) {
            self.assumed.push(sentence.to_owned());
        }
    }

    /// Questions that are open.
    pub fn open(&self) -> &[Question] {
        &self.open
    }

    /// What was taken for granted.
    pub fn assumed(&self) -> Vec<String> {
        [&self.granted[..], &self.assumed].concat()
    }

    /// Answers that nobody asked for.
    pub fn unused(&self) -> Vec<&str> {
        let keys = self.answers.keys().map(String::as_str);
        keys.filter(|key| !self.used.iter().any(|used| used == key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_answered_stays_open() {
        let mut interview = Interview::default();
        let options = [("a", "one"), ("b", "another")];
        assert_eq!(interview.ask("key", "which?", &options, "b"), "b");
        assert_eq!(interview.open().len(), 1);
        interview.answer("key", "a");
        interview.insist("other", "c");
        let mut again = interview.again();
        assert_eq!(again.ask("key", "which?", &options, "b"), "a");
        assert!(again.open().is_empty());
        assert_eq!(again.unused(), ["other"]);
        assert!(again.is_insisted("other") && !again.is_insisted("key"));
        assert_eq!(again.assume("levels", "256", "images have 256 levels"), "256");
        assert_eq!(again.assumed(), ["images have 256 levels"]);
        assert!(again.is_said("other") && !again.is_said("key"));
        again.take_for_granted(&interview.open()[0]);
        again.insist("key", "b");
        assert!(again.is_insisted("key") && !again.is_said("key"));
        assert_eq!(
            again.again().assumed(),
            ["which? b, as is likely; --declare key=… says otherwise (a)"]
        );
    }
}
