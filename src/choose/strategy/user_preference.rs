//! `user_preference`: the services in the order of the user's `preference`, those not named last; then by weight.

use crate::words::Id;

pub(crate) fn rank(preference: &[Id], service: &Id) -> u64 {
    preference.iter().position(|preferred| preferred == service).unwrap_or(preference.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn unnamed_services_come_last() {
        let preference = ["gemini".into(), "claude".into()];
        assert_eq!(["gemini", "claude", "openai"].map(|service| rank(&preference, &service.into())), [0, 1, 2]);
        assert_eq!(rank(&[], &"claude".into()), 0);
    }
}
