//! A scanner of the keyboard kind: it types the digits and letters of a code, then Enter.

use std::time::{Duration, SystemTime};

use evdev::KeyCode;

use crate::model::LONGEST_ID;

/// A pause longer than this is none of a scanner's: what was typed before it is forgotten.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A longer code is none of a person: it would be cut, and two people could share the rest.
const LONGEST_CODE: usize = LONGEST_ID;

/// Collects what one scanner types.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    typed: String,
    shift: bool,
    last: Option<SystemTime>,
}

/// What a key of a scanner comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Part of a code, or what is left of one.
    Nothing,
    /// A whole code.
    Code(String),
    /// A key that a scanner does not type: a keyboard has been used as the device's buttons.
    Key,
}

impl Scanner {
    /// Takes a key that goes down (1), is held (2) or goes up (0).
    pub(super) fn take(&mut self, key: KeyCode, value: i32, at: SystemTime) -> Typed {
        if matches!(key, KeyCode::KEY_LEFTSHIFT | KeyCode::KEY_RIGHTSHIFT) {
            self.shift = value != 0;
            return Typed::Nothing;
        }
        if value != 1 {
            return if is_typed(key) { Typed::Nothing } else { Typed::Key };
        }
        // A clock that is set back shows no pause.
        let pause = self
            .last
            .is_none_or(|last| at.duration_since(last).is_ok_and(|pause| pause > LONGEST_PAUSE));
        if pause {
            self.typed.clear();
        }
        if let Some(letter) = letter(key, self.shift) {
            self.last = Some(at);
            if self.typed.len() <= LONGEST_CODE {
                self.typed.push(letter);
            }
            return Typed::Nothing;
        }
        if !is_enter(key) {
            return Typed::Key;
        }
        // Some scanners end a code by two: the second is no press of a button.
        self.last = Some(at);
        match std::mem::take(&mut self.typed) {
            code if code.len() > LONGEST_CODE => Typed::Nothing,
            code if !code.is_empty() => Typed::Code(code),
            _ if pause => Typed::Key,
            _ => Typed::Nothing,
        }
    }
}

fn is_enter(key: KeyCode) -> bool {
    matches!(key, KeyCode::KEY_ENTER | KeyCode::KEY_KPENTER)
}

fn is_typed(key: KeyCode) -> bool {
    is_enter(key) || letter(key, false).is_some()
}

/// The character of a key on the layout that scanners are delivered with (United States).
fn letter(key: KeyCode, shift: bool) -> Option<char> {
    let &(_, plain, shifted) = LETTERS.iter().find(|(wanted, ..)| *wanted == key)?;
    Some(if shift { shifted } else { plain })
}

/// Keys with their character, and the one with Shift.
#[rustfmt::skip]
const LETTERS: [(KeyCode, char, char); 58] = [
    (KeyCode::KEY_A, 'a', 'A'), (KeyCode::KEY_B, 'b', 'B'), (KeyCode::KEY_C, 'c', 'C'),
    (KeyCode::KEY_D, 'd', 'D'), (KeyCode::KEY_E, 'e', 'E'), (KeyCode::KEY_F, 'f', 'F'),
    (KeyCode::KEY_G, 'g', 'G'), (KeyCode::KEY_H, 'h', 'H'), (KeyCode::KEY_I, 'i', 'I'),
    (KeyCode::KEY_J, 'j', 'J'), (KeyCode::KEY_K, 'k', 'K'), (KeyCode::KEY_L, 'l', 'L'),
    (KeyCode::KEY_M, 'm', 'M'), (KeyCode::KEY_N, 'n', 'N'), (KeyCode::KEY_O, 'o', 'O'),
    (KeyCode::KEY_P, 'p', 'P'), (KeyCode::KEY_Q, 'q', 'Q'), (KeyCode::KEY_R, 'r', 'R'),
    (KeyCode::KEY_S, 's', 'S'), (KeyCode::KEY_T, 't', 'T'), (KeyCode::KEY_U, 'u', 'U'),
    (KeyCode::KEY_V, 'v', 'V'), (KeyCode::KEY_W, 'w', 'W'), (KeyCode::KEY_X, 'x', 'X'),
    (KeyCode::KEY_Y, 'y', 'Y'), (KeyCode::KEY_Z, 'z', 'Z'),
    (KeyCode::KEY_1, '1', '!'), (KeyCode::KEY_2, '2', '@'), (KeyCode::KEY_3, '3', '#'),
    (KeyCode::KEY_4, '4', '$'), (KeyCode::KEY_5, '5', '%'), (KeyCode::KEY_6, '6', '^'),
    (KeyCode::KEY_7, '7', '&'), (KeyCode::KEY_8, '8', '*'), (KeyCode::KEY_9, '9', '('),
    (KeyCode::KEY_0, '0', ')'),
    (KeyCode::KEY_KP1, '1', '1'), (KeyCode::KEY_KP2, '2', '2'), (KeyCode::KEY_KP3, '3', '3'),
    (KeyCode::KEY_KP4, '4', '4'), (KeyCode::KEY_KP5, '5', '5'), (KeyCode::KEY_KP6, '6', '6'),
    (KeyCode::KEY_KP7, '7', '7'), (KeyCode::KEY_KP8, '8', '8'), (KeyCode::KEY_KP9, '9', '9'),
    (KeyCode::KEY_KP0, '0', '0'),
    (KeyCode::KEY_SPACE, ' ', ' '), (KeyCode::KEY_MINUS, '-', '_'), (KeyCode::KEY_EQUAL, '=', '+'),
    (KeyCode::KEY_LEFTBRACE, '[', '{'), (KeyCode::KEY_RIGHTBRACE, ']', '}'),
    (KeyCode::KEY_SEMICOLON, ';', ':'), (KeyCode::KEY_APOSTROPHE, '\'', '"'),
    (KeyCode::KEY_GRAVE, '`', '~'), (KeyCode::KEY_BACKSLASH, '\\', '|'),
    (KeyCode::KEY_COMMA, ',', '<'), (KeyCode::KEY_DOT, '.', '>'), (KeyCode::KEY_SLASH, '/', '?'),
];

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: [KeyCode; 4] = [KeyCode::KEY_R, KeyCode::KEY_W, KeyCode::KEY_MINUS, KeyCode::KEY_7];

    /// Presses keys one after the other, each so many milliseconds after the one before; what comes of it.
    fn typed(scanner: &mut Scanner, at: &mut u64, keys: &[KeyCode], gap_ms: u64) -> Vec<Typed> {
        let mut all = Vec::new();
        for &key in keys {
            *at += gap_ms;
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(*at);
            all.push(scanner.take(key, 1, now));
            all.push(scanner.take(key, 0, now));
        }
        all.retain(|typed| *typed != Typed::Nothing);
        all
    }

    #[test]
    fn a_code_is_whole_at_enter() {
        let (mut scanner, mut at) = (Scanner::default(), 0);
        assert!(typed(&mut scanner, &mut at, &CODE, 10).is_empty());
        let end = [KeyCode::KEY_ENTER, KeyCode::KEY_ENTER];
        assert_eq!(typed(&mut scanner, &mut at, &end, 10), [Typed::Code("rw-7".into())]);
        assert!(typed(&mut scanner, &mut at, &[KeyCode::KEY_KP4], 10).is_empty());
        let end = [KeyCode::KEY_KPENTER];
        assert_eq!(typed(&mut scanner, &mut at, &end, 10), [Typed::Code("4".into())]);
    }

    #[test]
    fn shift_makes_capital_letters() {
        let (mut scanner, now) = (Scanner::default(), SystemTime::UNIX_EPOCH);
        for (key, value) in [
            (KeyCode::KEY_LEFTSHIFT, 1),
            (KeyCode::KEY_R, 1),
            (KeyCode::KEY_R, 2),
            (KeyCode::KEY_LEFTSHIFT, 0),
            (KeyCode::KEY_W, 1),
        ] {
            assert_eq!(scanner.take(key, value, now), Typed::Nothing);
        }
        assert_eq!(scanner.take(KeyCode::KEY_ENTER, 1, now), Typed::Code("Rw".into()));
    }

    #[test]
    fn a_pause_forgets_what_was_typed_half() {
        let (mut scanner, mut at) = (Scanner::default(), 0);
        typed(&mut scanner, &mut at, &[KeyCode::KEY_9, KeyCode::KEY_9], 10);
        at += 600;
        typed(&mut scanner, &mut at, &CODE, 10);
        let end = [KeyCode::KEY_ENTER];
        assert_eq!(typed(&mut scanner, &mut at, &end, 10), [Typed::Code("rw-7".into())]);
        // Half a code and a pause: Enter is then a button, not the end of that code.
        typed(&mut scanner, &mut at, &CODE, 10);
        at += 600;
        assert_eq!(typed(&mut scanner, &mut at, &end, 10), [Typed::Key]);
    }

    #[test]
    fn a_keyboard_is_the_buttons_too() {
        let (mut scanner, mut at) = (Scanner::default(), 0);
        let keys = [KeyCode::KEY_DOWN, KeyCode::KEY_ENTER];
        let all = typed(&mut scanner, &mut at, &keys, 700);
        // Down and up of the arrow, and the Enter that goes down.
        assert_eq!(all, [Typed::Key, Typed::Key, Typed::Key]);
    }

    #[test]
    fn what_is_too_long_is_no_code() {
        let (mut scanner, mut at) = (Scanner::default(), 0);
        typed(&mut scanner, &mut at, &[KeyCode::KEY_1; LONGEST_CODE + 1], 1);
        assert!(typed(&mut scanner, &mut at, &[KeyCode::KEY_ENTER], 1).is_empty());
    }
}
