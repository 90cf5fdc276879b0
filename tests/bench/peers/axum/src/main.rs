//! What a Rust engineer would write in an hour: `POST /jobs` stores one row, publishes one
//! persistent message, waits for its confirm and answers 202. `peer-axum worker` updates one row
//! and acks one message per job, 256 at a time.

use axum::{
    extract::State,
    http::{header, StatusCode},
    response::IntoResponse,
    routing::post,
    Json, Router,
};
use futures::StreamExt;
use lapin::{
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    BasicProperties, Channel, Connection, ConnectionProperties,
};
use serde_json::{json, Value};
use sqlx::{postgres::PgPoolOptions, PgPool};
use uuid::Uuid;

const QUEUE: &str = "peer.axum";
const PREFETCH: u16 = 256;
const PERSISTENT: u8 = 2;

#[derive(Clone)]
struct App {
    channel: Channel,
    db: PgPool,
}

#[tokio::main]
async fn main() {
    let app = App {
        channel: open_channel().await,
        db: open_db().await,
    };
    match std::env::args().nth(1).as_deref() {
        Some("worker") => work(app).await,
        _ => serve(app).await,
    }
}

async fn serve(app: App) {
    app.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let port = std::env::var("PORT").unwrap_or_else(|_| "7003".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    let router = Router::new().route("/jobs", post(accept)).with_state(app);
    axum::serve(listener, router).await.unwrap();
}

async fn accept(State(app): State<App>, Json(payload): Json<Value>) -> impl IntoResponse {
    let id = Uuid::now_v7();
    sqlx::query("insert into jobs (id, kind, payload) values ($1, $2, $3)")
        .bind(id)
        .bind("noop")
        .bind(&payload)
        .execute(&app.db)
        .await
        .unwrap();
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(id.to_string().into());
    app.channel
        .basic_publish(
            "".into(),
            QUEUE.into(),
            BasicPublishOptions::default(),
            &serde_json::to_vec(&payload).unwrap(),
            properties,
        )
        .await
        .unwrap()
        .await
        .unwrap();
    (
        StatusCode::ACCEPTED,
        [(header::LOCATION, format!("/jobs/{id}"))],
        Json(json!({ "id": id })),
    )
}

async fn work(app: App) {
    app.channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.unwrap();
    let deliveries = app
        .channel
        .basic_consume(
            QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    deliveries
        .for_each_concurrent(usize::from(PREFETCH), |delivery| finish(app.db.clone(), delivery.unwrap()))
        .await;
}

async fn finish(db: PgPool, delivery: Delivery) {
    let id: Uuid = delivery.properties.message_id().as_ref().unwrap().as_str().parse().unwrap();
    sqlx::query("update jobs set state = 'succeeded' where id = $1")
        .bind(id)
        .execute(&db)
        .await
        .unwrap();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
}

async fn open_channel() -> Channel {
    let url = std::env::var("AMQP_URL").unwrap();
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await.unwrap();
    channel
}

async fn open_db() -> PgPool {
    let url = std::env::var("DATABASE_URL").unwrap();
    PgPoolOptions::new().max_connections(20).connect(&url).await.unwrap()
}
