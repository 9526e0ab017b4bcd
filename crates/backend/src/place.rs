use std::fmt;

/// Why a text is no region or country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not 1–15 of `a–z 0–9 -`.
    #[error("{found:?} is not a region name: 1 to 15 of a-z 0-9 -")]
    Region {
        /// The text found.
        found: String,
    },
    /// Not an assigned ISO 3166-1 alpha-2 code.
    #[error("{found:?} is not an ISO 3166-1 alpha-2 country code, such as BR, US, DE or JP")]
    Country {
        /// The text found.
        found: String,
    },
}

/// The name of a region: 1–15 of `a–z 0–9 -`, upper case folded.
///
/// Fifteen bytes and a length, inline: a region is copied and compared as one machine word pair on the
/// request path, where a pointer to text would cost a cache miss.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    text: [u8; Region::MAX_LEN],
    len: u8,
}

impl Region {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 15;

    /// Reads a region's name and folds it to lower case. Whether such a region is configured is the
    /// caller's question.
    ///
    /// # Errors
    /// When `text` is not 1–15 of the permitted characters.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let permitted = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.as_bytes().iter().all(permitted) {
            return Err(PlaceError::Region { found: excerpt(text) });
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes.make_ascii_lowercase();
        let len = u8::try_from(text.len()).unwrap_or(0);
        Ok(Self { text: bytes, len })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored, so this can't fail.
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// An ISO 3166-1 alpha-2 country code, in upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads an assigned code, in either case.
    ///
    /// # Errors
    /// When `text` is not one of the codes that ISO 3166-1 assigns.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        <[u8; 2]>::try_from(text.as_bytes())
            .map(|code| code.map(|letter| letter.to_ascii_uppercase()))
            .ok()
            .filter(|code| is_assigned(*code))
            .map(Self)
            .ok_or_else(|| PlaceError::Country { found: excerpt(text) })
    }

    /// Every country, by its code.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        assigned().iter().map(|[a, b, _]| Self([*a, *b]))
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII letters are ever stored, so this can't fail.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// An error message must not repeat a megabyte.
fn excerpt(text: &str) -> String {
    text.chars().take(32).collect()
}

fn is_assigned(code: [u8; 2]) -> bool {
    assigned()
        .binary_search_by(|[a, b, _]| [*a, *b].cmp(&code))
        .is_ok()
}

fn assigned() -> &'static [[u8; 3]] {
    ASSIGNED.as_bytes().as_chunks().0
}

/// The 249 codes that ISO 3166-1 assigns, in order, each followed by one separator.
const ASSIGNED: &str = "\
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO \
FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE \
JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW \
PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM \
TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW ";

macro_rules! place_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = PlaceError;

            fn from_str(text: &str) -> Result<Self, PlaceError> {
                Self::parse(text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

place_text!(Region);
place_text!(Country);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_short_and_folded() {
        assert_eq!(Region::parse("EU").unwrap().as_str(), "eu");
        assert_eq!(
            Region::parse("abcdefghijklmno").unwrap().as_str(),
            "abcdefghijklmno"
        );
        for bad in ["", "abcdefghijklmnop", "e u", "é"] {
            assert!(Region::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_country_is_an_assigned_code_in_either_case() {
        assert_eq!(ASSIGNED.len(), 249 * 3);
        assert!(Country::all().is_sorted() && Country::all().len() == 249);
        assert!(Country::all().all(|country| Country::parse(country.as_str()) == Ok(country)));
        assert_eq!(Country::parse("de").unwrap().as_str(), "DE");
        for bad in ["", "D", "DEU", "XX", "UK", "D ", "ÄÖ"] {
            assert!(Country::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_long_text() {
        let PlaceError::Country { found } = Country::parse(&"x".repeat(1_000_000)).unwrap_err() else {
            panic!("not a country error");
        };
        assert_eq!(found.len(), 32);
    }
}
