//! CSV and JSON: headers, types, compression, parts of files, and errors that name file and line.

mod common;

use std::io::Write;

use common::*;
use futures::StreamExt;
use sluice_spi::SqlState;

#[tokio::test]
async fn csv_columns_go_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s/t");
    write_text(
        &folder.join("1.csv"),
        "\u{feff}id,name,price,ok,day,at\n1,\"a, b\",1.5,true,2024-02-29,2024-02-29T01:02:03\n2,,2,false,1969-12-31,1969-12-31 23:59:59.5\n",
    );
    write_text(
        &folder.join("2.csv"),
        "price,id,extra\n3,9000000000,\"two\nlines\"\n",
    );
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    let columns: Vec<String> = described
        .columns
        .iter()
        .map(|c| format!("{} {}", c.field.name(), c.field.data_type()))
        .collect();
    assert_eq!(
        columns,
        [
            "id Int64",
            "name Utf8View",
            "price Float64",
            "ok Boolean",
            "day Date32",
            "at Timestamp(µs)",
            "extra Utf8View"
        ]
    );
    let scan = Scan {
        projection: Some(vec![0, 1, 2, 4, 5]),
        ..Scan::default()
    };
    assert_eq!(
        scan.rows(&lake, &described).await,
        [
            "1,a, b,1.5,2024-02-29,2024-02-29T01:02:03",
            "2,,2.0,1969-12-31,1969-12-31T23:59:59.500",
            "9000000000,,3.0,,"
        ]
    );
    let none = Scan {
        projection: Some(Vec::new()),
        ..Scan::default()
    };
    let (batches, _) = none.raw(&lake, &described).await.unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 3);
}

#[tokio::test]
async fn csv_errors_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("id,name\n");
    (1..=20_000).for_each(|i| text.push_str(&format!("{i},n\n")));
    write_text(&dir.path().join("s/value.csv"), format!("{text}x,bad\n"));
    write_text(&dir.path().join("s/fields.csv"), format!("{text}20001\n"));
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "value").await;
    let error = Scan::default().raw(&lake, &described).await.unwrap_err();
    assert_eq!(error.message, "invalid value \"x\" for type Int64");
    assert_eq!(error.code, SqlState::INVALID_TEXT_REPRESENTATION);
    let detail = error.detail.unwrap();
    assert!(
        detail.ends_with("s/value.csv\", line 20002, column \"id\""),
        "{detail}"
    );

    let described = table(&lake, "s", "fields").await;
    let error = Scan::default().raw(&lake, &described).await.unwrap_err();
    assert_eq!(error.code, SqlState::DATA_CORRUPTED);
    assert!(
        error.message.ends_with("s/fields.csv\", line 20002"),
        "{error}"
    );
}

#[tokio::test]
async fn csv_options_are_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    write_text(
        &dir.path().join("elsewhere/x.txt"),
        "# made by hand\n1;\\N;'a;b'\n2;x;\n",
    );
    let keys = format!(
        "[tables.'web.hits']\nlocation = '{}'\nformat = 'csv'\n\
         csv = {{ delimiter = ';', header = false, null = '\\N', quote = \"'\", comment = '#' }}\n\
         columns = [{{ name = 'id', type = 'smallint' }}, {{ name = 'a', type = 'text' }}, {{ name = 'b', type = 'varchar(9)' }}]",
        dir.path().join("elsewhere").display()
    );
    let lake = catalog(toml::from_str(&keys).unwrap()).unwrap();
    assert_eq!(lake.metadata().schemas().await.unwrap(), ["web"]);
    let described = table(&lake, "web", "hits").await;
    assert_eq!(
        sluice_spi::types::pg_type(&described.columns[2].field),
        Some("varchar(9)")
    );
    assert_eq!(
        Scan::default().rows(&lake, &described).await,
        ["1,,a;b", "2,x,"]
    );
}

#[tokio::test]
async fn a_large_csv_is_read_in_parts_where_lines_are_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("id,pad\n");
    (0..1_200_000u32).for_each(|i| text.push_str(&format!("{i},0123456789\n")));
    write_text(&dir.path().join("s/t.csv"), &text);
    let lake = lake(dir.path(), "[csv]\nnewlines_in_values = false\n");
    let described = table(&lake, "s", "t").await;
    let cut = splits(&lake, &described.handle, 4).await.unwrap();
    assert!(cut.len() >= 2, "{}", cut.len());
    let mut sum = 0i64;
    let mut rows = 0;
    for split in cut {
        let request = Scan {
            projection: Some(vec![0]),
            ..Scan::default()
        }
        .request(&described, &described.handle, split);
        let mut read = lake.reader().read(request).unwrap();
        while let Some(batch) = read.next().await {
            let batch = batch.unwrap();
            rows += batch.num_rows() as i64;
            let ids = batch
                .column(0)
                .as_any()
                .downcast_ref::<arrow::array::Int64Array>()
                .unwrap();
            sum += arrow::compute::sum(ids).unwrap();
        }
    }
    assert_eq!((rows, sum), (1_200_000, 1_199_999 * 600_000));
}

#[tokio::test]
async fn json_lines_are_rows() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s/t");
    write_text(
        &folder.join("day=2024-01-01/1.json"),
        "{\"id\": 1, \"name\": \"a\", \"tags\": [\"x\", \"y\"]}\n{\"id\": 2.5, \"more\": {\"k\": 1}}\n\n",
    );
    write_text(
        &folder.join("day=2024-01-02/2.ndjson"),
        "{\"id\": 3, \"name\": 7}\n",
    );
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    let names: Vec<&str> = described
        .columns
        .iter()
        .map(|c| c.field.name().as_str())
        .collect();
    let at = |name: &str| names.iter().position(|n| *n == name).unwrap();
    let scan = Scan {
        projection: Some(vec![at("id"), at("name"), at("day")]),
        ..Scan::default()
    };
    assert_eq!(
        scan.rows(&lake, &described).await,
        ["1.0,a,2024-01-01", "2.5,,2024-01-01", "3.0,7,2024-01-02"]
    );
    let none = Scan {
        projection: Some(Vec::new()),
        ..Scan::default()
    };
    let (batches, _) = none.raw(&lake, &described).await.unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 3);

    let mut text: String = (0..20_000).map(|i| format!("{{\"id\": {i}}}\n")).collect();
    text.push_str("{\"id\": [}\n");
    write_text(&dir.path().join("s/bad.json"), &text);
    let described = table(&lake, "s", "bad").await;
    let error = Scan::default().raw(&lake, &described).await.unwrap_err();
    assert!(
        error.message.ends_with("s/bad.json\", line 20001"),
        "{error}"
    );
}

#[tokio::test]
async fn compressed_text_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.csv");
    let mut file = std::fs::File::create(&plain).unwrap();
    writeln!(file, "id\n1\n2").unwrap();
    std::fs::create_dir_all(dir.path().join("s/t")).unwrap();
    let packed = std::process::Command::new("gzip")
        .arg("-c")
        .arg(&plain)
        .output()
        .unwrap()
        .stdout;
    write_text(&dir.path().join("s/t/a.csv.gz"), &packed);
    // Two members in one file, as concatenation makes them.
    write_text(
        &dir.path().join("s/u.csv.gz"),
        [packed.clone(), packed[..packed.len() - 9].to_vec()].concat(),
    );
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    assert_eq!(Scan::default().rows(&lake, &described).await, ["1", "2"]);
    let error = lake.metadata().table("s", "u").await.unwrap_err();
    assert_eq!(error.code, SqlState::DATA_CORRUPTED, "{error:?}");
    assert!(error.message.contains("u.csv.gz"), "{error}");
}

#[tokio::test]
async fn schemas_and_tables_come_from_folders() {
    let dir = tempfile::tempdir().unwrap();
    write_text(&dir.path().join("web/hits.csv"), "a\n1\n");
    write_text(&dir.path().join("web/days/x.json"), "{\"a\":1}\n");
    write_text(&dir.path().join("web/spark.csv/part-0.csv"), "a\n1\n");
    write_text(&dir.path().join("web/notes.txt"), "");
    write_text(&dir.path().join("_tmp/x.csv"), "a\n1\n");
    write_text(&dir.path().join("shop/empty/.keep"), "");
    let lake = lake(dir.path(), "");
    let metadata = lake.metadata();
    assert_eq!(metadata.schemas().await.unwrap(), ["shop", "web"]);
    let names = |tables: Vec<sluice_spi::TableSummary>| {
        tables.into_iter().map(|t| t.name).collect::<Vec<_>>()
    };
    assert_eq!(
        names(metadata.tables("web").await.unwrap()),
        ["days", "hits", "spark"]
    );
    assert_eq!(
        names(metadata.tables("none").await.unwrap()),
        Vec::<String>::new()
    );
    assert_eq!(metadata.describe_schema("web").await.unwrap().len(), 3);
    assert_eq!(metadata.describe_schema("shop").await.unwrap().len(), 0);
    assert!(lake.ping().await.unwrap().starts_with("2 schemas at /"));

    let lost = common::lake(&dir.path().join("lost"), "");
    let error = lost.metadata().schemas().await.unwrap_err();
    assert_eq!(error.code, SqlState::IO_ERROR, "{error:?}");

    let error = catalog(toml::from_str("locaton = '/x'").unwrap())
        .err()
        .unwrap();
    assert_eq!(
        error.hint.as_deref(),
        Some("Perhaps you meant \"location\".")
    );
    let error = catalog(toml::from_str("location = '/x'\n[tables.'a']\n").unwrap())
        .err()
        .unwrap();
    assert_eq!(
        error.message,
        "catalogs/lake.toml: [tables.\"a\"] is not \"SCHEMA.TABLE\""
    );
}
