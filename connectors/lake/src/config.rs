//! The keys of a lake's catalog file. The doc comments are the reference that users read.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_spi::{Error, Result, Secret, SqlState};

/// A catalog over files: `connector = "lake"`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LakeConfig {
    /// Where `SCHEMA/TABLE/…files` or `SCHEMA/TABLE.EXT` begin: a folder (`/data/lake`,
    /// `file:///data/lake`, or relative to the configuration folder) or `s3://bucket/prefix`.
    pub location: Option<String>,
    /// Access to S3 and what speaks its language.
    #[serde(default)]
    pub s3: S3Config,
    /// How CSV files are written, unless their table says otherwise.
    #[serde(default)]
    pub csv: TextOptions,
    /// Seconds for which a folder's listing is kept. Default: 0 for local folders, 10 for S3.
    pub listing_ttl_seconds: Option<u64>,
    /// Tables that lie elsewhere or need options, by "SCHEMA.TABLE".
    #[serde(default)]
    pub tables: BTreeMap<String, TableConfig>,
}

/// Access to S3. Without keys, the environment's (`AWS_ACCESS_KEY_ID`, a web identity, the instance's
/// role) are used.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The server's URL, for S3 servers other than Amazon's.
    pub endpoint: Option<String>,
    /// The region. Default: "us-east-1".
    pub region: Option<String>,
    /// The access key's id.
    pub access_key: Option<String>,
    /// The secret key; write it as `"${ENV:NAME}"` or `"${FILE:path}"`.
    pub secret_key: Option<Secret<String>>,
    /// The session token of temporary keys.
    pub session_token: Option<Secret<String>>,
    /// True where the bucket is part of the path rather than of the host name. Default: true with an
    /// `endpoint`, else false.
    pub path_style: Option<bool>,
    /// Allow plain HTTP. Default: true where `endpoint` begins with "http://".
    pub allow_http: Option<bool>,
    /// Send no signature, for public buckets. Default: false.
    #[serde(default)]
    pub anonymous: bool,
}

/// A table with its own place or options.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// A folder or a file, as in the catalog's `location`. Default: `SCHEMA/TABLE` below that.
    pub location: Option<String>,
    /// The files' format. Default: from their names' ends.
    pub format: Option<FileFormat>,
    /// How its CSV files are written.
    #[serde(default)]
    pub csv: Option<TextOptions>,
    /// The columns of its CSV or JSON files, in order. Default: inferred from the first rows.
    #[serde(default)]
    pub columns: Vec<ColumnConfig>,
}

/// How CSV files are written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextOptions {
    /// The character between fields. Default: "," (a tab in .tsv files).
    pub delimiter: Option<char>,
    /// Whether the first line names the columns. Default: true. With it, columns are found by name in
    /// each file; without it, by position, under the names column_1, column_2, ….
    pub header: bool,
    /// The character around fields that hold the delimiter. Default: a double quote.
    pub quote: char,
    /// The character that takes the meaning from a quote inside of a quoted field. Default: none, the
    /// quote is doubled.
    pub escape: Option<char>,
    /// The text that stands for NULL. Default: an empty field is NULL.
    pub null: Option<String>,
    /// Lines that begin with this character are skipped. Default: none.
    pub comment: Option<char>,
    /// Whether a quoted field may hold a line break. Default: true. Setting it to false lets one large
    /// file be read in parallel.
    pub newlines_in_values: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        TextOptions {
            delimiter: None,
            header: true,
            quote: '"',
            escape: None,
            null: None,
            comment: None,
            newlines_in_values: true,
        }
    }
}

impl TextOptions {
    /// The options as the reader takes them: one byte each.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        let wide = [
            ("delimiter", self.delimiter),
            ("quote", Some(self.quote)),
            ("escape", self.escape),
            ("comment", self.comment),
        ]
        .into_iter()
        .find(|(_, c)| c.is_some_and(|c| !c.is_ascii()));
        match wide {
            Some((key, _)) => Err(Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("{place}: \"{key}\" must be one ASCII character"),
            )),
            None => Ok(()),
        }
    }
}

/// A column of a text file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// Its name: the header's, or the JSON key.
    pub name: String,
    /// Its PostgreSQL type: boolean, smallint, integer, bigint, real, double precision, numeric(p,s),
    /// text, date, time, timestamp, timestamptz, json.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Fields with delimiters, a row a line.
    Csv,
    /// A JSON object a line.
    Json,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
            FileFormat::Json => "json",
        })
    }
}

/// How a text file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// What a file's name says about its content: the format, the compression, and the name without either.
pub(crate) fn classify(file_name: &str) -> (Option<FileFormat>, Compression, &str) {
    let lower = file_name.to_ascii_lowercase();
    let (stem, compression) = [
        (".gz", Compression::Gzip),
        (".bz2", Compression::Bzip2),
        (".xz", Compression::Xz),
        (".zst", Compression::Zstd),
    ]
    .into_iter()
    .find(|(end, _)| lower.ends_with(end))
    .map_or((file_name, Compression::None), |(end, kind)| {
        (&file_name[..file_name.len() - end.len()], kind)
    });
    let (name, extension) = stem.rsplit_once('.').unwrap_or((stem, ""));
    let format = match extension.to_ascii_lowercase().as_str() {
        // Parquet compresses inside; a compressed Parquet file cannot be read in pieces.
        "parquet" | "parq" | "pq" if compression == Compression::None => FileFormat::Parquet,
        "csv" | "tsv" => FileFormat::Csv,
        "json" | "jsonl" | "ndjson" => FileFormat::Json,
        _ => return (None, compression, file_name),
    };
    (Some(format), compression, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        let check = |name, format, compression, stem| {
            assert_eq!(classify(name), (format, compression, stem), "{name}");
        };
        check(
            "a.parquet",
            Some(FileFormat::Parquet),
            Compression::None,
            "a",
        );
        check(
            "a.b.CSV.GZ",
            Some(FileFormat::Csv),
            Compression::Gzip,
            "a.b",
        );
        check(
            "a.ndjson.zst",
            Some(FileFormat::Json),
            Compression::Zstd,
            "a",
        );
        check("README.md", None, Compression::None, "README.md");
        check("a.parquet.gz", None, Compression::Gzip, "a.parquet.gz");
    }
}
