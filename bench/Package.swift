// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// A package of its own, so that what is shipped depends on nothing that only measures.
let package = Package(
    name: "orchestry-bench",
    products: [
        .executable(name: "orchestry-bench", targets: ["orchestry-bench"]),
        // Loaded before a program whose allocations `protocol` counts.
        .library(name: "CountAllocations", type: .dynamic, targets: ["CountAllocations"]),
    ],
    dependencies: [
        // The name is given because a path's own identity is its folder's name, which may be anything.
        .package(name: "orchestry", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1",
            traits: []),
    ],
    targets: [
        // The baseline of `cache` talks to SQLite itself.
        .systemLibrary(
            name: "CSystemSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "Measuring", swiftSettings: strict),
        .target(name: "CountAllocations"),
        .executableTarget(
            name: "orchestry-bench",
            dependencies: [
                "Measuring", "CSystemSQLite",
                .product(name: "OrchestryCore", package: "orchestry"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Logging", package: "swift-log"),
                // The baseline of `rest`.
                .product(name: "Hummingbird", package: "hummingbird"),
            ],
            swiftSettings: strict),
        .testTarget(name: "MeasuringTests", dependencies: ["Measuring"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
