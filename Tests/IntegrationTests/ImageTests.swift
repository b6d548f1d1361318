import Foundation
import OrchestryModel
import TestSupport
import Testing

/// What becomes of images between a registry and containers, on real parts.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && PrivateRegistry.isInstalled,
        "needs PostgreSQL, nginx, a container engine and docker-registry: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct ImageTests {
    private func push(_ source: String, as reference: String) async throws {
        try Cluster.docker(["tag", source, reference])
        try await eventuallyTrue("the push to \(reference)", within: .seconds(30)) {
            try Cluster.docker(["push", reference]).contains("digest: sha256:")
        }
        try Cluster.docker(["rmi", reference])
    }

    private func document(_ image: String) -> JSONValue {
        guard case .object(var members) = Cluster.document("web", image: image),
            case .object(var spec)? = members["spec"]
        else { return .null }
        spec["pullPolicy"] = nil
        members["spec"] = .object(spec)
        return .object(members)
    }

    @Test func `a revision keeps the image its tag meant, and a scanner can refuse the next one`() async throws {
        let registry = try PrivateRegistry()
        defer { registry.stop() }
        let reference = "\(registry.address)/shop:1"
        let bad = "\(registry.address)/bad:1"
        try await push("orchestry-demo:v1", as: reference)
        try await push("orchestry-demo:v2", as: bad)
        let scanner = try TemporaryFolder("orchestry-scan")
        let script = scanner.path + "/scan"
        try "#!/bin/sh\ncase $2 in *bad*) echo found CVE-2026-1; exit 3;; esac\n".write(
            toFile: script, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script)
        let settings = "scan_command: [\"\(script)\", --quiet, \"{image}\"]"
        try await withCluster("image", Cluster.Options(engineSettings: [settings])) { cluster in
            _ = try await cluster.leader()
            let member = cluster.members[1]
            _ = try await cluster.post("/apps/register", document(reference), to: member)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 1], to: member)
            try await cluster.waitForReady("web", 1, via: member)
            // The tag moves on; the revision does not.
            try await push("orchestry-demo:v2", as: reference)
            _ = try await cluster.post("/apps/web/scale", ["replicas": 3], to: member)
            try await cluster.waitForReady("web", 3, via: member)
            let images = try Cluster.docker(
                ["inspect", "--format", "{{.Config.Image}}"] + cluster.containers(of: "web").values
            ).split(separator: "\n")
            #expect(Set(images).count == 1 && images.allSatisfy { $0.contains("/shop@sha256:") }, "\(images)")
            for _ in 0..<6 { #expect(try await cluster.app("web", via: member).json["version"] == "v1") }

            _ = try await cluster.post("/apps/register", document(bad), to: member)
            try await eventuallyTrue("the refusal, with the scanner's words") {
                let events = try await cluster.get("/events?app=web&limit=50", from: member).json["events"]?.arrayValue
                return (events ?? []).contains {
                    $0["event_type"] == "revision_refused"
                        && $0["message"]?.stringValue?.contains("found CVE-2026-1") == true
                }
            }
            try await eventuallyTrue("the way back") {
                let status = try await cluster.get("/apps/web/status", from: member).json
                return status["revision"] == 3 && status["ready_replicas"] == 3
            }
            for _ in 0..<6 { #expect(try await cluster.app("web", via: member).json["version"] == "v1") }
        }
        try removeImages(of: registry)
    }

    /// By reference, never by id: the images behind them have other names, which other tests use.
    private func removeImages(of registry: PrivateRegistry) throws {
        let references = try Cluster.docker([
            "images", "--digests", "--filter", "reference=\(registry.address)/*", "--format",
            "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}",
        ]).split(whereSeparator: \.isWhitespace).map(String.init)
        for reference in Set(references) where !reference.contains("<none>") { try Cluster.docker(["rmi", reference]) }
    }
}
