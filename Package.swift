// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// Pure modules: no I/O, no clock, no randomness of their own. `.ci/check-purity` guards the line.
func pure(
    _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []
) -> Target {
    .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

/// Shells: one outside thing each.
func shell(
    _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []
) -> Target {
    .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = []
) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioConcurrency = Target.Dependency.product(
    name: "NIOConcurrencyHelpers", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioTestUtils = Target.Dependency.product(name: "NIOTestUtils", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioWebSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTPTypes1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")
let asyncHTTPClient = Target.Dependency.product(
    name: "AsyncHTTPClient", package: "async-http-client")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTesting = Target.Dependency.product(
    name: "HummingbirdTesting", package: "hummingbird")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let argumentParser = Target.Dependency.product(
    name: "ArgumentParser", package: "swift-argument-parser")
let configuration = Target.Dependency.product(
    name: "Configuration", package: "swift-configuration")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let asn1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")

let package = Package(
    name: "orchestry",
    products: [
        .executable(name: "orchestryd", targets: ["orchestryd"]),
        .executable(name: "orchestry", targets: ["orchestry"]),
        // What `bench/` and peers in Swift link against.
        .library(
            name: "OrchestryCore",
            targets: [
                "OrchestryModel", "WireProtocol", "Leadership", "Autoscaling", "ScalingSimulation", "Scheduling",
                "MetricsCache", "PeerTransport", "SimulationKit", "ProxyConfig", "DockerEngine",
                "PostgresStore",
            ]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1",
            traits: []),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(
            url: "https://github.com/apple/swift-configuration.git", from: "1.4.0",
            traits: ["YAML"]),
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        .package(url: "https://github.com/apple/swift-certificates.git", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-asn1.git", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-system.git", from: "1.8.1"),
        .package(url: "https://github.com/vapor/jwt-kit.git", from: "5.7.1"),
    ],
    targets: [
        // System libraries
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        // The Swift toolchain and AsyncHTTPClient need the same package.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),

        // Pure
        pure("OrchestryModel"),
        pure("AccessControl", ["OrchestryModel", crypto]),
        pure("WireProtocol", ["OrchestryModel", nioCore]),
        pure("Leadership", ["OrchestryModel"]),
        pure("Autoscaling", ["OrchestryModel"]),
        pure("ScalingSimulation", ["OrchestryModel", "Autoscaling"]),
        pure("Scheduling", ["OrchestryModel"]),
        pure("ProxyConfig", ["OrchestryModel"], resources: [.embedInCode("Lua")]),
        pure("SimulationKit", ["OrchestryModel", "Leadership"]),

        // Shells
        shell("NodeConfiguration", ["OrchestryModel", "SecretSealing", configuration, system, yams]),
        shell("SecretSealing", ["OrchestryModel", crypto]),
        shell("Certificates", [x509, crypto, asn1]),
        shell("Authentication", ["AccessControl", "OrchestryModel", jwtKit, crypto]),
        shell(
            "PeerTransport",
            ["OrchestryModel", "WireProtocol", nioCore, nioPosix, nioSSL, nioConcurrency, logging, crypto]),
        shell(
            "PostgresStore", ["CLibPQ", "OrchestryModel", "AccessControl", logging],
            resources: [.embedInCode("Migrations")]),
        shell("RecordArchive", ["CZlib", "OrchestryModel", crypto]),
        shell("MetricsCache", ["CSQLite", "OrchestryModel", "WireProtocol", nioCore, logging]),
        shell(
            "DockerEngine", ["OrchestryModel", asyncHTTPClient, nioCore, nioPosix, nioHTTP1, logging]),
        shell("HealthProbes", ["OrchestryModel", asyncHTTPClient, nioCore, nioHTTP1, nioPosix, logging]),
        shell(
            "ProxyControl", ["OrchestryModel", "ProxyConfig", "Certificates", logging]),
        shell(
            "RestFacade",
            [
                "OrchestryModel", "AccessControl", hummingbird, hummingbirdCore, httpTypes, nioCore, nioHTTP1,
                nioHTTPTypes,
                nioHTTPTypes1, nioWebSocket, nioSSL, crypto, logging,
            ],
            resources: [.embedInCode("Resources")]),
        shell(
            "NodeRuntime",
            [
                "OrchestryModel", "WireProtocol", "Leadership", "Autoscaling", "ScalingSimulation", "Scheduling",
                "ProxyConfig", "NodeConfiguration", "PeerTransport", "PostgresStore",
                "MetricsCache", "DockerEngine", "HealthProbes", "ProxyControl", "RestFacade", "Certificates",
                "SecretSealing", "AccessControl", "Authentication", "RecordArchive",
                nioCore, nioPosix, nioSSL, hummingbird, httpTypes, lifecycle, logging, asyncHTTPClient, crypto,
            ]),

        shell(
            "TestSupport",
            ["OrchestryModel", "AccessControl", "Leadership", crypto, cryptoExtras, nioCore, nioPosix]),

        // Executables
        .executableTarget(
            name: "orchestryd",
            dependencies: [
                "NodeRuntime", "NodeConfiguration", "OrchestryModel", "RecordArchive", argumentParser, lifecycle,
                unixSignals, logging,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "orchestry",
            dependencies: [
                "OrchestryModel", "AccessControl", "Autoscaling", "ScalingSimulation", "Certificates", "SecretSealing",
                "RecordArchive", argumentParser, asyncHTTPClient,
                nioCore, nioPosix, nioHTTP1, nioWebSocket, nioSSL, yams,
            ],
            swiftSettings: strict),

        // Tests
        tests("OrchestryModelTests", ["OrchestryModel"]),
        tests(
            "WireProtocolTests",
            ["WireProtocol", "OrchestryModel", "TestSupport", nioCore, nioEmbedded, nioTestUtils]),
        tests("AccessControlTests", ["AccessControl", "OrchestryModel"]),
        tests("AuthenticationTests", ["Authentication", "AccessControl", "TestSupport", "OrchestryModel", crypto]),
        tests("LeadershipTests", ["Leadership", "OrchestryModel"]),
        tests("SimulationTests", ["SimulationKit", "Leadership", "OrchestryModel"]),
        tests("AutoscalingTests", ["Autoscaling", "OrchestryModel"]),
        tests("ScalingSimulationTests", ["ScalingSimulation", "Autoscaling", "OrchestryModel"]),
        tests("SchedulingTests", ["Scheduling", "OrchestryModel"]),
        tests("ProxyConfigTests", ["ProxyConfig", "OrchestryModel"], resources: [.copy("Golden")]),
        tests("NodeConfigurationTests", ["NodeConfiguration", "SecretSealing", "TestSupport", "OrchestryModel"]),
        tests("SecretSealingTests", ["SecretSealing", "OrchestryModel"]),
        tests("CertificatesTests", ["Certificates", x509, crypto, asn1]),
        tests(
            "PeerTransportTests",
            [
                "PeerTransport", "WireProtocol", "OrchestryModel", "Certificates", "TestSupport", nioCore, nioPosix,
                nioSSL, logging,
            ]),
        tests("PostgresStoreTests", ["PostgresStore", "AccessControl", "TestSupport", "OrchestryModel", logging]),
        tests("RecordArchiveTests", ["RecordArchive", "TestSupport", "OrchestryModel"]),
        tests("MetricsCacheTests", ["MetricsCache", "TestSupport", "OrchestryModel", "CSQLite", logging]),
        tests(
            "DockerEngineTests",
            [
                "DockerEngine", "OrchestryModel", "TestSupport", asyncHTTPClient, nioCore, nioHTTP1, nioPosix, logging,
            ]),
        tests(
            "HealthProbesTests",
            ["HealthProbes", "TestSupport", "OrchestryModel", nioCore, nioPosix, logging]),
        tests(
            "ProxyControlTests",
            ["ProxyControl", "ProxyConfig", "TestSupport", "OrchestryModel", "Certificates", logging]),
        tests(
            "RestFacadeTests",
            [
                "RestFacade", "AccessControl", "Authentication", "OrchestryModel", "Leadership", "Certificates",
                "TestSupport", hummingbird,
                hummingbirdTesting, httpTypes, nioCore, nioPosix, nioSSL, logging,
            ], resources: [.copy("Golden")]),
        tests(
            "CommandLineTests",
            [
                "RestFacade", "AccessControl", "Certificates", "TestSupport", "OrchestryModel", "orchestry",
                hummingbird, httpTypes, nioCore, logging,
                yams,
            ]),
        tests(
            "IntegrationTests",
            [
                "OrchestryModel", "AccessControl", "WireProtocol", "Leadership", "Certificates", "SecretSealing",
                "MetricsCache", "RecordArchive", "TestSupport", "orchestryd", "orchestry", asyncHTTPClient, logging,
                nioCore, nioHTTP1, nioPosix, nioSSL, nioTLS,
            ]),
        tests(
            "ChaosTests",
            [
                "OrchestryModel", "Certificates", "TestSupport", "orchestryd", asyncHTTPClient, nioCore, nioHTTP1,
                nioPosix,
            ]),
    ],
    swiftLanguageModes: [.v6]
)
