//! Every word on the screens, in every language: one file a language, and a language without one of the words
//! does not compile.

mod am;
mod ar;
mod en;
mod es;
mod fr;
mod hi;
mod pt;
mod sw;

use std::str::FromStr;

/// Makes the table of a language: a `match` that the compiler holds complete.
macro_rules! table {
    ($($key:ident: $text:literal,)*) => {
        pub(super) const fn text(key: $crate::words::Key) -> &'static str {
            match key { $($crate::words::Key::$key => $text,)* }
        }
    };
}
use table;

macro_rules! keys {
    ($($key:ident)*) => {
        /// The name of a word or sentence; what it says is in the table of each language, `en.rs` first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is what its English text says")]
        pub enum Key { $($key,)* }

        impl Key {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$key,)*];
        }
    };
}

keys! {
    Back Next Ok Done Delete GoOn TryAgain RightEye LeftEye StartTitle Model Camera Storage Clock Power
    CheckFine CheckNotReady Site Operator EnterPin PinChecking PinWrong PinWait HomeTitle NewPerson
    Summary Settings Lock WorstQueue QueueEmpty Examined Referred ToSend AllSent Undecided CloseVisit RegisterTitle Number
    Name Age Years Sex Female Male OtherSex UnknownSex Optional MakeNumber NumberNeeded MoreKeys
    PhotographTitle PhotographRight PhotographLeft BothDone NotYet EyeAbsent EyePresent CameraReady
    CameraOffline CameraAdvice WaitingPhotograph TakePhotograph Examining ExaminingLong ExamFailed PhotographWaits
    UsePhotograph LeaveOut LeaveOutAll LeaveOutQuestion LeftOut BreakOff BreakOffQuestion Suspected NotSuspected Retake Ungradable NotLowRisk
    Attempt Probability Vcdr Range NoBetter LookCloser Disc Cup Fovea NotFundus NotFundusAdvice FieldOff
    FieldOffAdvice OutOfFocus OutOfFocusAdvice Hazy HazyAdvice TooDark TooDarkAdvice TooBright
    TooBrightAdvice Glare GlareAdvice Shadow ShadowAdvice NoDisc NoDiscAdvice Unclear UnclearAdvice
    WrongEyeTitle LooksLeft LooksRight WhichEye ItIsRight ItIsLeft Decision DecisionRefer
    DecisionNotSuspected ReasonSuspectedRight ReasonSuspectedLeft ReasonUngradableRight
    ReasonUngradableLeft ReasonNotPhotographedRight ReasonNotPhotographedLeft ReasonAsymmetry Saving Saved NotSaved NotKept StorageFull StorageFails Slip Print Printing Printed PrintFailed ScanHint
    NoDecision NoDiagnosis Report Journal BurnedIn CountExamined CountSuspected CountUngradable CountNotSuspected Export
    Exporting Exported ExportFailed SendNow Daylight Dark
}

/// A language of the screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    En,
    /// Hindi.
    Hi,
    /// Spanish.
    Es,
    /// French.
    Fr,
    /// Portuguese.
    Pt,
    /// Arabic.
    Ar,
    /// Swahili.
    Sw,
    /// Amharic.
    Am,
}

/// A text that is no language's code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of {codes}", codes = Language::ALL.map(Language::code).join(", "))]
pub struct NoSuchLanguage(String);

impl FromStr for Language {
    type Err = NoSuchLanguage;

    fn from_str(code: &str) -> Result<Self, NoSuchLanguage> {
        let found = Self::ALL.into_iter().find(|language| language.code() == code);
        found.ok_or_else(|| NoSuchLanguage(code.to_owned()))
    }
}

impl Language {
    /// All of them, in the order they are offered.
    pub const ALL: [Self; 8] =
        [Self::En, Self::Hi, Self::Es, Self::Fr, Self::Pt, Self::Ar, Self::Sw, Self::Am];

    /// What it calls itself.
    #[must_use]
    pub const fn own_name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Hi => "हिन्दी",
            Self::Es => "Español",
            Self::Fr => "Français",
            Self::Pt => "Português",
            Self::Ar => "العربية",
            Self::Sw => "Kiswahili",
            Self::Am => "አማርኛ",
        }
    }

    /// Its code after ISO 639-1.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Hi => "hi",
            Self::Es => "es",
            Self::Fr => "fr",
            Self::Pt => "pt",
            Self::Ar => "ar",
            Self::Sw => "sw",
            Self::Am => "am",
        }
    }

    /// Whether it is read from right to left.
    #[must_use]
    pub const fn rtl(self) -> bool {
        matches!(self, Self::Ar)
    }

    /// The text of a key.
    #[must_use]
    pub const fn text(self, key: Key) -> &'static str {
        match self {
            Self::En => en::text(key),
            Self::Hi => hi::text(key),
            Self::Es => es::text(key),
            Self::Fr => fr::text(key),
            Self::Pt => pt::text(key),
            Self::Ar => ar::text(key),
            Self::Sw => sw::text(key),
            Self::Am => am::text(key),
        }
    }
}

/// Puts values in the places of `{name}`.
#[must_use]
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `{name}` places of a text, sorted.
    fn places(text: &str) -> Vec<&str> {
        let mut places: Vec<&str> =
            text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn every_language_says_every_key_with_the_same_places() {
        for language in Language::ALL {
            for &key in Key::ALL {
                let text = language.text(key);
                assert!(!text.trim().is_empty(), "{} {key:?}", language.code());
                let expected = places(Language::En.text(key));
                assert_eq!(places(text), expected, "{} {key:?}", language.code());
            }
        }
    }

    #[test]
    fn values_take_their_places() {
        assert_eq!(fill("{n} of {m}", &[("n", "1"), ("m", "3")]), "1 of 3");
    }
}
