//! How an entry of the list becomes a setting, a field and, where apps may differ, a key of `[apps.NAME]`. Behind the
//! default may stand `restart`, where a running process can't change it, and `secret`, where its value is not for
//! everybody's eyes.

macro_rules! settings {
    (
        proxy { $( $(#[doc = $doc:literal])+ $field:ident: $type:ty, $key:literal $(/ $env:literal)?, $kind:expr, $default:literal $(, $mark:ident)*; )+ }
        apps { $( $(#[doc = $app_doc:literal])+ $app_field:ident: $app_type:ty, $app_key:literal, $app_kind:expr, $app_default:literal; )+ }
    ) => {
        /// Everything that can be configured, valid by its types and checked against each other.
        ///
        /// The fields are open so that an embedder can write
        /// `Settings { api_enabled: true, ..Settings::default() }`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $type, )+
            $( $(#[doc = $app_doc])+ pub $app_field: $app_type, )+
            /// The `[[listeners]]` of the file, besides that of `listen_addr`; see
            /// [`every_listener`](Self::every_listener).
            pub listeners: Vec<Listener>,
        }

        /// What an app may have differently from the others: the settings of [`Scope::App`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct AppSettings {
            $( $(#[doc = $app_doc])+ pub $app_field: $app_type, )+
        }

        impl Settings {
            /// Every setting, in the order of the reference documentation.
            pub const ALL: &'static [Setting] = &[
                $( Setting {
                    key: $key,
                    default: $default,
                    kind: $kind,
                    scope: Scope::Proxy,
                    reload: settings!(@reload $($mark)*),
                    secret: settings!(@secret $($mark)*),
                    env_name: settings!(@env $($env)?),
                    doc_text: concat!($($doc),+),
                    show: |settings| settings.$field.show(),
                    apply: |settings, value| {
                        settings.$field = FromValue::from_value(value)?;
                        Ok(())
                    },
                }, )+
                $( Setting {
                    key: $app_key,
                    default: $app_default,
                    kind: $app_kind,
                    scope: Scope::App,
                    reload: Reload::Live,
                    secret: false,
                    env_name: None,
                    doc_text: concat!($($app_doc),+),
                    show: |settings| settings.$app_field.show(),
                    apply: |settings, value| {
                        settings.$app_field = FromValue::from_value(value)?;
                        Ok(())
                    },
                }, )+
            ];
        }

        impl AppSettings {
            /// The same settings as keys of an app's table.
            pub(crate) const KEYS: &'static [Key<Self>] = &[ $( Key {
                field: Field {
                    key: $app_key,
                    kind: $app_kind,
                    default: concat!("the proxy's `", $app_key, "`"),
                    doc_text: concat!($($app_doc),+),
                },
                apply: |settings, value| {
                    settings.$app_field = FromValue::from_value(value)?;
                    Ok(())
                },
            }, )+ ];

            /// Each by its key, as it is in force.
            pub(crate) fn shown(&self) -> Vec<(&'static str, Shown)> {
                vec![$( ($app_key, self.$app_field.show()), )+]
            }

            /// Those of an app that says nothing itself.
            #[must_use]
            pub fn of(settings: &Settings) -> Self {
                Self { $( $app_field: settings.$app_field.clone(), )+ }
            }
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $( $field: built_in(&$kind, $default), )+
                    $( $app_field: built_in(&$app_kind, $app_default), )+
                    listeners: Vec::new(),
                }
            }
        }
    };
    (@reload restart $($mark:ident)*) => { Reload::Restart };
    (@reload $other:ident $($mark:ident)*) => { settings!(@reload $($mark)*) };
    (@reload) => { Reload::Live };
    (@secret secret $($mark:ident)*) => { true };
    (@secret $other:ident $($mark:ident)*) => { settings!(@secret $($mark)*) };
    (@secret) => { false };
    (@env $env:literal) => { Some($env) };
    (@env) => { None };
}

pub(super) use settings;
