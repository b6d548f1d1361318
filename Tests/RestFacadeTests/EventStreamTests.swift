import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// `GET /events/stream` over real connections.
struct EventStreamTests {
    private func facade(
        _ plane: ScriptedControlPlane, maxStreams: Int = 10, stall: Duration = .seconds(20),
        heartbeat: Duration = .seconds(15)
    ) -> RestFacade {
        RestFacade(
            configuration: RestFacadeConfiguration(
                port: 0, maxStreams: maxStreams, streamStall: stall, streamHeartbeat: heartbeat, version: "1.0.0"),
            controlPlane: plane, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    private func read(
        _ facade: RestFacade, _ path: String = "/events/stream", headers: String = "",
        after wait: @escaping @Sendable (_ port: Int) async throws -> Void = { _ in }
    ) async throws -> String {
        try await facade.application().test(.live) { client in
            let port = try #require(client.port)
            // Of the chunks' own lines, which end in both.
            return try await RawConnection.read(port: port, head: Self.head(path, headers)) {
                try await wait(port)
            }.replacing("\r\n", with: "\n")
        }
    }

    private static func head(_ path: String, _ headers: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(headers)\r\n"
    }

    @Test func `begins now, gives events with their ids, and says when the node stops`() async throws {
        let plane = ScriptedControlPlane(pages: [Samples.page(8...9), Samples.page(12...12)], newest: 7)
        let text = try await read(facade(plane))
        #expect(text.hasPrefix("HTTP/1.1 200 OK"))
        #expect(text.contains("text/event-stream"))
        #expect(text.contains("retry: 1000\nid: 7\n\n"))
        let lines = text.split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("id: ") } == ["id: 7", "id: 8", "id: 9", "id: 12"])
        let data = try #require(lines.first { $0.hasPrefix("data: ") })
        #expect(try JSONValue(json: data.dropFirst(6).utf8) == Presentation.event(id: 8, Samples.event(8)))
        #expect(text.contains(": this node stops"))
        #expect(plane.askedCursors.map(\.events) == [7, 9, 12])
        #expect(plane.askedCursors.allSatisfy { $0.overview == nil })
    }

    @Test func `resumes after the id that a client has`() async throws {
        let plane = ScriptedControlPlane(newest: 100)
        _ = try await read(facade(plane), headers: "Last-Event-ID: 42\r\n")
        #expect(plane.askedCursors == [StreamCursor(events: 42)])
        let other = ScriptedControlPlane(newest: 100)
        _ = try await read(facade(other), "/events/stream?last_event_id=0&state=true")
        #expect(other.askedCursors == [StreamCursor(events: 0, overview: 0)])
    }

    @Test func `an id that was never given here begins anew, and says so`() async throws {
        let plane = ScriptedControlPlane(newest: 10)
        let text = try await read(facade(plane), headers: "Last-Event-ID: 4711\r\n")
        #expect(text.contains("id: 10\nevent: reset\ndata: {\"last_event_id\":4711,\"newest\":10}\n\n"))
        #expect(plane.askedCursors.map(\.events) == [10])
    }

    @Test func `what a filter leaves out still moves the client on`() async throws {
        let plane = ScriptedControlPlane(
            pages: [
                Samples.page(1...3, kind: .instanceReady), Samples.page(4...4), Samples.page(5...6, kind: .nodeLost),
            ])
        let text = try await read(
            facade(plane, heartbeat: .zero), "/events/stream?type=scaled,app_deleted&app=web",
            headers: "Last-Event-ID: 0\r\n")
        // Nothing yet; a client that loses its connection here needn't have 1 to 3 looked at again.
        #expect(text.split(separator: "\n").filter { $0.hasPrefix("id: ") } == ["id: 0", "id: 3", "id: 4", "id: 6"])
        #expect(text.split(separator: "\n").count { $0 == "event: event" } == 1)
        #expect(text.contains(": heartbeat\nid: 3\n\n"))
    }

    @Test func `every wrong option is named`() async throws {
        let test = FacadeUnderTest()
        let answer = try await test.ask(
            .get, "/events/stream?app=No_App&type=Scaled&state=maybe", headers: [HTTPField.Name("Last-Event-ID")!: "-1"]
        )
        #expect(answer.status == 422)
        let fields = answer.body["violations"]?.arrayValue?.compactMap { $0["field"]?.stringValue }
        #expect(fields == ["app", "type", "Last-Event-ID", "state"])
    }

    @Test func `one client too many is told to ask another node, and its place is free again later`() async throws {
        let plane = ScriptedControlPlane(newest: 1)
        let none = try await read(facade(plane, maxStreams: 0))
        #expect(none.hasPrefix("HTTP/1.1 503"))
        #expect(none.contains("too-many-streams"))
        let one = facade(plane, maxStreams: 1)
        for _ in 1...3 { #expect(try await read(one).hasPrefix("HTTP/1.1 200")) }
    }

    @Test(arguments: [
        ("/events/stream", "/apps/web/logs?follow=true"), ("/apps/web/logs?follow=true", "/events/stream"),
    ])
    func `a client that does not read is cut off, and its place is free`(_ slow: String, _ quick: String) async throws {
        // Far more than the sockets of both sides hold.
        let long = String(repeating: "x", count: 20_000)
        let isOfEvents = slow.hasPrefix("/events")
        let line = Presentation.LogLine(
            timestampSeconds: 1, containerID: "c", instance: InstanceID(unchecked: "web-1-a"),
            node: NodeID(unchecked: "n"), message: long)
        let plane = ScriptedControlPlane(
            pages: isOfEvents ? (0..<40).map { Samples.page($0 * 100 + 1...$0 * 100 + 100, message: long) } : [],
            logs: isOfEvents ? [] : Array(repeating: Array(repeating: line, count: 100), count: 40))
        let text = try await read(facade(plane, maxStreams: 1, stall: .milliseconds(300)), slow) { port in
            #expect(await eventually { plane.askedPages > 0 })
            let isFree = try await eventually(within: .seconds(30)) {
                try await RawConnection.read(port: port, head: Self.head(quick)).hasPrefix("HTTP/1.1 200")
            }
            #expect(isFree)
        }
        #expect(text.hasPrefix("HTTP/1.1 200"))
        #expect(text.contains(long))
        #expect(!text.contains("this node stops"))
        #expect(plane.askedPages < 40)
    }
}
