import DockerEngine
import Foundation
import OrchestryModel
import Synchronization
import Testing

/// An engine that is away, mute or strange.
@Suite struct TroubleTests {
    private func withFake(_ answer: String, _ body: (DockerEngine) async throws -> Void) async throws {
        let fake = try await FakeEngine(answer: answer)
        let engine = EngineFixture.makeEngine(
            cluster: ClusterID(unchecked: "test"), node: NodeID(unchecked: "node-1"), socketPath: fake.socketPath,
            requestTimeout: .milliseconds(300))
        do {
            try await body(engine)
        } catch {
            Issue.record("\(error)")
        }
        await engine.shutdown()
        try await fake.stop()
    }

    @Test func `an engine that is not there is unavailable, not slow`() async throws {
        // The limit is far away: only a prompt failure gives this code, waiting gives `timeout`.
        let engine = EngineFixture.makeEngine(
            cluster: ClusterID(unchecked: "test"), node: NodeID(unchecked: "node-1"),
            socketPath: "/nonexistent/docker.sock", requestTimeout: .seconds(120))
        await expectCode(.unavailable) { try await engine.ping() }
        await expectCode(.unavailable) { _ = try await engine.managedContainers() }
        await expectCode(.unavailable) { _ = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1)) }
        await expectCode(.unavailable) { try await engine.ensureNetwork() }
        await expectCode(.unavailable) { for try await _ in engine.events() {} }
        await engine.shutdown()
    }

    @Test func `an engine that is mute times out`() async throws {
        try await withFake("") { engine in
            await expectCode(.timeout) { try await engine.ping() }
            await expectCode(.timeout) { for try await _ in engine.events() {} }
        }
    }

    @Test func `a body that stops half way times out`() async throws {
        try await withFake("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") { engine in
            do {
                _ = try await engine.version()
                Issue.record("no error")
            } catch let error as EngineError {
                #expect(error.code == .timeout || error.code == .unavailable, "\(error)")
                #expect(error.isRetryable)
            }
        }
    }

    struct Refusal: Sendable, CustomTestStringConvertible {
        var status: String
        var message: String
        var code: EngineError.Code
        var testDescription: String { "\(status) \(message)" }
    }

    @Test(arguments: [
        Refusal(status: "400 Bad Request", message: "invalid mount", code: .invalid),
        Refusal(status: "404 Not Found", message: "no such container: x", code: .notFound),
        Refusal(status: "404 Not Found", message: "No such image: x:v1", code: .imageMissing),
        Refusal(status: "409 Conflict", message: "name in use", code: .conflict),
        Refusal(status: "500 Internal Server Error", message: "disk full", code: .serverError),
        Refusal(status: "503 Service Unavailable", message: "starting", code: .serverError),
    ])
    func `refusals have a meaning`(_ refusal: Refusal) async throws {
        try await withFake(FakeEngine.http(refusal.status, "{\"message\":\"\(refusal.message)\"}")) { engine in
            do {
                _ = try await engine.version()
                Issue.record("no error")
            } catch let error as EngineError {
                #expect(error.code == refusal.code && error.message == refusal.message)
            }
        }
    }

    @Test func `what is not the Engine API is malformed`() async throws {
        try await withFake(FakeEngine.http("200 OK", "<html>")) { engine in
            await expectCode(.malformed) { _ = try await engine.version() }
        }
    }

    @Test(arguments: [
        ("manifest for x:v1 not found: manifest unknown", EngineError.Code.imageMissing),
        ("Get https://registry: connection refused", .serverError),
    ])
    func `a pull that fails inside its stream fails`(message: String, code: EngineError.Code) async throws {
        let lines = """
            {"status":"Pulling from x","id":"v1"}\r
            {"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}\r
            {"errorDetail":{"message":"\(message)"},"error":"\(message)"}\r

            """
        try await withFake(FakeEngine.http("200 OK", lines)) { engine in
            let progress = Mutex<[PullProgress]>([])
            await expectCode(code) { try await engine.pull("x:v1") { line in progress.withLock { $0.append(line) } } }
            #expect(
                progress.withLock { $0 } == [
                    PullProgress(layer: "v1", status: "Pulling from x", currentBytes: nil, totalBytes: nil),
                    PullProgress(layer: "abc", status: "Downloading", currentBytes: 5, totalBytes: 10),
                ])
        }
    }

    @Test func `a pull that ends well succeeds`() async throws {
        try await withFake(FakeEngine.http("200 OK", "{\"status\":\"Status: Image is up to date\"}\n")) { engine in
            try await engine.pull("x@sha256:00")
        }
    }

    @Test(.enabled(if: EngineFixture.isInstalled, "no Docker engine on this machine"))
    func `a registry that does not answer is an error worth retrying`() async throws {
        let engine = EngineFixture.makeEngine(cluster: ClusterID(unchecked: "test"), node: NodeID(unchecked: "node-1"))
        do {
            try await engine.pull("127.0.0.1:1/nothing:v1")
            Issue.record("no error")
        } catch {
            #expect(error.code == .serverError && error.isRetryable, "\(error)")
        }
        await engine.shutdown()
    }
}
