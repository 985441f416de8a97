fn main() {
    let session = windrow_sql::Session::new().unwrap();
    let sql = std::env::args().nth(1).unwrap();
    match session.sql(&sql) {
        Ok(answer) => {
            let schema = answer.schema();
            match answer.collect() {
                Ok(rows) => println!(
                    "{}",
                    arrow::util::pretty::pretty_format_batches_with_schema(schema, &rows).unwrap()
                ),
                Err(error) => eprintln!("error: {error}"),
            }
        }
        Err(error) => eprintln!("error: {error}"),
    }
}
