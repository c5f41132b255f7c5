//! What is typed about a person, and the keyboard's letters.

use glaucoma_records::visit::{Person, Sex};

use crate::words::Language;

/// Longest number of a person, characters.
pub const LONGEST_ID: usize = 24;
/// Longest name, characters.
pub const LONGEST_NAME: usize = 40;
const OLDEST: u8 = 130;

/// A field that is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The person's number.
    Id,
    /// The name.
    Name,
    /// The age.
    Age,
}

/// A field under the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Editing {
    /// Which.
    pub field: Field,
    /// The page of letters shown, from 0; the keyboard takes it modulo its number of pages.
    pub page: usize,
}

/// A person as far as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The number; empty while unknown.
    pub id: String,
    /// The name; empty where not asked.
    pub name: String,
    /// The age's digits; empty where not asked.
    pub age: String,
    /// Sex.
    pub sex: Sex,
}

impl Default for Draft {
    fn default() -> Self {
        Self { id: String::new(), name: String::new(), age: String::new(), sex: Sex::Unknown }
    }
}

impl Draft {
    /// What a field holds.
    #[must_use]
    pub fn value(&self, field: Field) -> &str {
        match field {
            Field::Id => &self.id,
            Field::Name => &self.name,
            Field::Age => &self.age,
        }
    }

    fn value_mut(&mut self, field: Field) -> &mut String {
        match field {
            Field::Id => &mut self.id,
            Field::Name => &mut self.name,
            Field::Age => &mut self.age,
        }
    }

    /// Adds a letter where it belongs in the field and there is room for it.
    pub fn push(&mut self, field: Field, letter: char) {
        let value = self.value_mut(field);
        let allowed = match field {
            Field::Id => letter.is_ascii_alphanumeric() || "-/".contains(letter),
            Field::Name => !letter.is_control(),
            Field::Age => letter.is_ascii_digit(),
        };
        let room = match field {
            Field::Id => value.chars().count() < LONGEST_ID,
            Field::Name => value.chars().count() < LONGEST_NAME,
            Field::Age => format!("{value}{letter}").parse::<u8>().is_ok_and(|age| age <= OLDEST),
        };
        let leading_space = letter == ' ' && value.is_empty();
        if allowed && room && !leading_space {
            value.push(letter);
        }
    }

    /// Takes the last letter away.
    pub fn erase(&mut self, field: Field) {
        self.value_mut(field).pop();
    }

    /// Puts a scanned or made number in place of the one that was there. One that does not fit as it is changes
    /// nothing: cut or cleaned it might be another person's.
    pub fn set_id(&mut self, id: &str) {
        let before = std::mem::take(&mut self.id);
        let id = id.trim();
        id.chars().for_each(|letter| self.push(Field::Id, letter));
        if self.id != id {
            self.id = before;
        }
    }

    /// The next choice of sex.
    pub fn next_sex(&mut self) {
        self.sex = match self.sex {
            Sex::Unknown => Sex::Female,
            Sex::Female => Sex::Male,
            Sex::Male => Sex::Other,
            Sex::Other => Sex::Unknown,
        };
    }

    /// The person, once there is a number.
    #[must_use]
    pub fn person(&self) -> Option<Person> {
        let name = self.name.trim();
        (!self.id.is_empty()).then(|| Person {
            id: self.id.clone(),
            name: (!name.is_empty()).then(|| name.to_owned()),
            age_years: self.age.parse().ok(),
            sex: self.sex,
        })
    }
}

const LATIN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ '-";

/// The letters to type a field with, in groups that begin a page of their own.
#[must_use]
pub fn letters(field: Field, language: Language) -> Vec<&'static str> {
    match (field, language) {
        (Field::Age, _) => vec!["1234567890"],
        (Field::Id, _) => vec!["1234567890-/", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"],
        (Field::Name, Language::Es) => vec![LATIN, "ÁÉÍÓÚÜÑ"],
        (Field::Name, Language::Fr) => vec![LATIN, "ÀÂÄÇÉÈÊËÎÏÔÖÙÛÜŒ"],
        (Field::Name, Language::Pt) => vec![LATIN, "ÁÂÃÀÇÉÊÍÓÔÕÚ"],
        (Field::Name, Language::Hi) => {
            vec!["अआइईउऊऋएऐओऔंःँािीुूृेैोौ्", "कखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसह़ ", LATIN]
        }
        (Field::Name, Language::Ar) => {
            vec!["ابتثجحخدذرزسشصضطظعغفقكلمنهوي ءآأإؤئةى", LATIN]
        }
        (Field::Name, Language::Am) => vec![
            "ሀሁሂሃሄህሆለሉሊላሌልሎሐሑሒሓሔሕሖመሙሚማሜምሞ",
            "ሠሡሢሣሤሥሦረሩሪራሬርሮሰሱሲሳሴስሶሸሹሺሻሼሽሾ",
            "ቀቁቂቃቄቅቆበቡቢባቤብቦተቱቲታቴትቶቸቹቺቻቼችቾ",
            "ኀኁኂኃኄኅኆነኑኒናኔንኖኘኙኚኛኜኝኞአኡኢኣኤእኦ",
            "ከኩኪካኬክኮኸኹኺኻኼኽኾወዉዊዋዌውዎዐዑዒዓዔዕዖ",
            "ዘዙዚዛዜዝዞዠዡዢዣዤዥዦየዩዪያዬይዮደዱዲዳዴድዶ",
            "ጀጁጂጃጄጅጆገጉጊጋጌግጎጠጡጢጣጤጥጦጨጩጪጫጬጭጮ",
            "ጰጱጲጳጴጵጶጸጹጺጻጼጽጾፀፁፂፃፄፅፆፈፉፊፋፌፍፎፐፑፒፓፔፕፖ ",
            LATIN,
        ],
        (Field::Name, Language::En | Language::Sw) => vec![LATIN],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_field_can_hold_is_taken() {
        let mut draft = Draft::default();
        "12a51".chars().for_each(|letter| draft.push(Field::Age, letter));
        assert_eq!(draft.age, "125");
        draft.set_id("  RW-0042\n");
        assert_eq!(draft.id, "RW-0042");
        // Neither cleaned nor cut: that might be somebody else's number.
        for other in ["RW-00\u{7}43", "RW-0043é", &format!("RW-{}", "1".repeat(LONGEST_ID))] {
            draft.set_id(other);
            assert_eq!(draft.id, "RW-0042");
        }
        draft.push(Field::Name, ' ');
        assert_eq!(draft.name, "");
        "x".repeat(200).chars().for_each(|letter| draft.push(Field::Id, letter));
        assert_eq!(draft.id.len(), LONGEST_ID);
        assert_eq!(Draft::default().person(), None);
    }
}
