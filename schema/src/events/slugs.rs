//! `slug_enum!`: a closed enum whose values have one spelling everywhere: in JSON, in the tables and in JSON Schema.

/// Generates the enum with `ALL`, `name`, `Display`, serde and JSON Schema from one list of `Variant = "slug"`.
macro_rules! slug_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $slug:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
                 serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = concat!("`", $slug, "`")] #[serde(rename = $slug)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its one spelling.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use slug_enum;
