use edgeproxy_backend::AppName;

use crate::value::{FromValue, Mismatch, Value};

/// Apps with their shares, in order of their names.
pub(crate) struct Shares(pub(super) Vec<(AppName, u32)>);

impl Shares {
    const MOST_APPS: usize = 32;
    const MOST: u32 = 1_000_000;
}

impl FromValue for Shares {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Pairs(pairs) = value else {
            return Err(value.unfit());
        };
        if pairs.is_empty() || pairs.len() > Self::MOST_APPS {
            let found = Mismatch::new(format!("{} apps", pairs.len()));
            return Err(found.help(format!("1 to {} can be named", Self::MOST_APPS)));
        }
        let mut shares: Vec<(AppName, u32)> = Vec::with_capacity(pairs.len());
        for (index, (name, share)) in pairs.iter().enumerate() {
            let refused = |help: String| {
                Mismatch::new(format!("{name:.64} = {share:.32}"))
                    .help(help)
                    .item(index)
            };
            let app = AppName::parse(name).map_err(|error| refused(format!("the name {error}")))?;
            if shares.iter().any(|(other, _)| *other == app) {
                return Err(refused(
                    "it comes twice, since the case of a name plays no part".to_owned(),
                ));
            }
            match share.parse() {
                Ok(share) if share <= Self::MOST => shares.push((app, share)),
                _ => {
                    return Err(refused(
                        "shares are parts of their sum, and need not be percent".to_owned(),
                    ));
                }
            }
        }
        if shares.iter().all(|(_, share)| *share == 0) {
            return Err(Mismatch::new("shares that are all 0").help("give at least one app a share above 0"));
        }
        Ok(Self(shares))
    }
}
