//! How texts are archived, and checked access to an archive.

use rkyv::api::low::LowValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::niche::option_box::{ArchivedOptionBox, OptionBoxResolver};
use rkyv::rancor::{Failure, Fallible};
use rkyv::ser::Writer;
use rkyv::with::{ArchiveWith, SerializeWith};
use rkyv::{Place, Portable, SerializeUnsized};

use crate::Error;

/// Archives an optional borrowed text in eight bytes, absent as a null pointer.
pub(crate) struct OptionalText;

impl ArchiveWith<Option<&str>> for OptionalText {
    type Archived = ArchivedOptionBox<str>;
    type Resolver = OptionBoxResolver;

    fn resolve_with(field: &Option<&str>, resolver: Self::Resolver, out: Place<Self::Archived>) {
        ArchivedOptionBox::resolve_from_option(*field, resolver, out);
    }
}

impl<S> SerializeWith<Option<&str>, S> for OptionalText
where
    S: Fallible + Writer + ?Sized,
    str: SerializeUnsized<S, Archived = str>,
{
    fn serialize_with(field: &Option<&str>, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        ArchivedOptionBox::serialize_from_option(*field, serializer)
    }
}

/// The archived value in `bytes`, after checking every offset, length, tag and text of it.
pub(crate) fn access<T>(kind: u8, bytes: &[u8]) -> Result<&T, Error>
where
    T: Portable + for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
    rkyv::api::low::access::<T, Failure>(bytes).map_err(|_| Error::Malformed { kind })
}
