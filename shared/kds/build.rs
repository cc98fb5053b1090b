//! Generates clients and servers of the services between control planes. Their messages are Rust types already, so no
//! `.proto` file of the services is needed.

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

const PACKAGE: &str = "kuma.mesh.v1alpha1";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let synchronization = Service::builder()
        .name("KDSSyncService")
        .package(PACKAGE)
        .comment("Synchronization of resources, one stream for each direction.")
        .method(
            method("global_to_zone_sync", "GlobalToZoneSync")
                .comment("Resources of global for the zone: the zone subscribes, global answers.")
                .input_type("crate::wire::DeltaRequest")
                .output_type("crate::wire::DeltaResponse")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method("zone_to_global_sync", "ZoneToGlobalSync")
                .comment("Resources of the zone for global: global subscribes, the zone answers.")
                .input_type("crate::wire::DeltaResponse")
                .output_type("crate::wire::DeltaRequest")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build();
    let global = Service::builder()
        .name("GlobalKDSService")
        .package(PACKAGE)
        .comment("Health of zones, and questions of global to the Envoys of a zone.")
        .method(
            method("health_check", "HealthCheck")
                .comment("The zone says that it is alive.")
                .input_type("tandem_proto::mesh::v1alpha1::ZoneHealthCheckRequest")
                .output_type("tandem_proto::mesh::v1alpha1::ZoneHealthCheckResponse")
                .build(),
        )
        .method(
            method("stream_xds_configs", "StreamXDSConfigs")
                .comment("Global asks for configuration dumps.")
                .input_type("tandem_proto::mesh::v1alpha1::XdsConfigResponse")
                .output_type("tandem_proto::mesh::v1alpha1::XdsConfigRequest")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method("stream_stats", "StreamStats")
                .comment("Global asks for statistics.")
                .input_type("tandem_proto::mesh::v1alpha1::StatsResponse")
                .output_type("tandem_proto::mesh::v1alpha1::StatsRequest")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method("stream_clusters", "StreamClusters")
                .comment("Global asks for clusters.")
                .input_type("tandem_proto::mesh::v1alpha1::ClustersResponse")
                .output_type("tandem_proto::mesh::v1alpha1::ClustersRequest")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build();
    let forward = Service::builder()
        .name("InterCPEnvoyAdminForwardService")
        .package(PACKAGE)
        .comment("Questions to Envoys, passed on between instances of global.")
        .method(
            method("xds_config", "XDSConfig")
                .comment("Asks for a configuration dump.")
                .input_type("tandem_proto::mesh::v1alpha1::XdsConfigRequest")
                .output_type("tandem_proto::mesh::v1alpha1::XdsConfigResponse")
                .build(),
        )
        .method(
            method("stats", "Stats")
                .comment("Asks for statistics.")
                .input_type("tandem_proto::mesh::v1alpha1::StatsRequest")
                .output_type("tandem_proto::mesh::v1alpha1::StatsResponse")
                .build(),
        )
        .method(
            method("clusters", "Clusters")
                .comment("Asks for clusters.")
                .input_type("tandem_proto::mesh::v1alpha1::ClustersRequest")
                .output_type("tandem_proto::mesh::v1alpha1::ClustersResponse")
                .build(),
        )
        .build();
    Builder::new().build_transport(false).compile(&[synchronization, global, forward]);
}

fn method(name: &str, route: &str) -> MethodBuilder {
    Method::builder().name(name).route_name(route).codec_path("tonic_prost::ProstCodec")
}
