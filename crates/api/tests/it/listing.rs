//! Pages and cursors.

use serde_json::json;

use crate::house::House;

async fn all(house: &House, path: &str, limit: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = house.get(&format!("{path}?limit={limit}{cursor}")).await.expect(200).json();
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        seen.extend(
            rows.iter().map(|row| row["id"].as_str().unwrap_or_else(|| row["name"].as_str().unwrap()).to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn pages_together_are_the_whole_listing() {
    let house = House::new().await;
    for number in 0..7 {
        house.asset("default", &format!("film {number}")).await;
        house.post("/api/v1/tokens", json!({ "label": "t", "scopes": ["read"] })).await.expect(201);
    }
    for path in ["/api/v1/assets", "/api/v1/jobs", "/api/v1/tokens", "/api/v1/recipes"] {
        let whole = all(&house, path, 100).await;
        assert!(whole.len() >= 3, "{path}: {whole:?}");
        for limit in [1, 2, 3] {
            assert_eq!(all(&house, path, limit).await, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_page_begun_stays_right_while_rows_come() {
    let house = House::new().await;
    for number in 0..4 {
        house.asset("default", &format!("old {number}")).await;
    }
    let first = house.get("/api/v1/assets?limit=2").await.json();
    house.asset("default", "new").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = house.get(&format!("/api/v1/assets?limit=2&cursor={cursor}")).await.json();
    let title = |page: &serde_json::Value, row: usize| page["data"][row]["title"].as_str().unwrap().to_owned();
    let titles = [title(&first, 0), title(&first, 1), title(&second, 0), title(&second, 1)];
    assert_eq!(titles, ["old 3", "old 2", "old 1", "old 0"]);
}

#[tokio::test]
async fn what_is_no_page_is_refused() {
    let house = House::new().await;
    for number in 0..3 {
        house.asset("default", &format!("film {number}")).await;
    }
    let of_assets = house.get("/api/v1/assets?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
    for (path, code) in [
        ("/api/v1/assets?limit=0".to_owned(), "invalid_request"),
        ("/api/v1/assets?limit=101".to_owned(), "invalid_request"),
        ("/api/v1/assets?limit=x".to_owned(), "invalid_request"),
        ("/api/v1/assets?page=2".to_owned(), "invalid_request"),
        ("/api/v1/assets?state=lost".to_owned(), "invalid_request"),
        ("/api/v1/assets?text=%00".to_owned(), "invalid_request"),
        ("/api/v1/assets?cursor=nonsense".to_owned(), "invalid_cursor"),
        (format!("/api/v1/jobs?cursor={of_assets}"), "invalid_cursor"),
        (format!("/api/v1/tokens?cursor={of_assets}"), "invalid_cursor"),
    ] {
        assert_eq!(house.get(&path).await.expect(400).code(), code, "{path}");
    }
}

#[tokio::test]
async fn filters_hold() {
    let house = House::new().await;
    house.asset("a", "The Red Balloon").await;
    house.asset("b", "Blue").await;
    let titles = async |query: &str| {
        let page = house.get(&format!("/api/v1/assets?{query}")).await.expect(200).json();
        page["data"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(titles("text=balloon").await, ["The Red Balloon"]);
    assert_eq!(titles("tenant=b").await, ["Blue"]);
    assert_eq!(titles("state=ready").await, [""; 0]);
    assert_eq!(titles("state=preparing").await.len(), 2);
}
