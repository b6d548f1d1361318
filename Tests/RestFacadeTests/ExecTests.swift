import AccessControl
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import RestFacade
import TestSupport
import Testing

/// `GET /apps/{name}/exec` over real connections, frame by frame.
struct ExecTests {
    /// A client that writes and reads bytes.
    private struct Client {
        let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
        var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
        var received: [UInt8] = []

        func send(_ text: String) async throws { try await outbound.write(ByteBuffer(string: text)) }

        /// A masked frame (with a mask that changes nothing) of fewer than 126 bytes.
        func send(frame opcode: UInt8, _ bytes: [UInt8]) async throws {
            try await outbound.write(ByteBuffer(bytes: [0x80 | opcode, 0x80 | UInt8(bytes.count), 0, 0, 0, 0] + bytes))
        }

        /// Reads until these bytes have come.
        mutating func wait(for bytes: [UInt8]) async throws {
            while received.firstRange(of: bytes) == nil {
                guard let chunk = try await inbound.next() else {
                    Issue.record("closed before \(String(decoding: bytes, as: UTF8.self)) came: \(text)")
                    return
                }
                received += chunk.readableBytesView
            }
        }

        /// Reads until the other side closes.
        mutating func drain() async throws {
            while let chunk = try await inbound.next() { received += chunk.readableBytesView }
        }

        var text: String { String(decoding: received, as: UTF8.self) }
    }

    private static func upgrade(_ query: String, headers: String = "") -> String {
        "GET /apps/web/exec?\(query) HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + "Sec-WebSocket-Protocol: v1.exec.orchestry\r\n\(headers)\r\n"
    }

    private func connected(
        _ plane: ScriptedControlPlane, _ body: @escaping @Sendable (inout Client) async throws -> Void
    ) async throws {
        let facade = RestFacade(
            configuration: RestFacadeConfiguration(port: 0, version: "1.0.0"), controlPlane: plane,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await facade.application().test(.live) { client in
            let port = try #require(client.port)
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "localhost", port: port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    }
                }
            try await channel.executeThenClose { inbound, outbound in
                var client = Client(outbound: outbound, inbound: inbound.makeAsyncIterator())
                try await body(&client)
            }
        }
    }

    private static func message(_ channel: UInt8, _ text: String) -> [UInt8] {
        let content = [channel] + Array(text.utf8)
        return [0x82, UInt8(content.count)] + content
    }

    @Test func `channels, control messages and the status, also as a connection's second request`() async throws {
        let plane = ScriptedControlPlane()
        try await connected(plane) { client in
            try await client.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            try await client.wait(for: Array("}".utf8))
            client.received = []
            try await client.send(
                Self.upgrade("command=sh&command=-c&command=a%20b&stdin=true&tty=true&columns=90&rows=30"))
            try await client.wait(for: Array("\r\n\r\n".utf8))
            let head = client.text.lowercased()
            #expect(head.hasPrefix("http/1.1 101 "))
            // The example of RFC 6455 §1.3.
            #expect(client.text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
            #expect(head.contains("sec-websocket-protocol: v1.exec.orchestry"))
            #expect(!head.contains("transfer-encoding"))
            try await client.send(frame: 2, [0] + Array("hi".utf8))
            try await client.wait(for: Self.message(1, "hi"))
            try await client.send(frame: 2, [3] + Array(#"{"resize":{"columns":132,"rows":43}}"#.utf8))
            try await client.wait(for: Self.message(2, "132x43"))
            try await client.send(frame: 9, Array("ping".utf8))
            try await client.wait(for: [0x8A, 4] + Array("ping".utf8))
            try await client.send(frame: 2, [3] + Array(#"{"endOfInput":true}"#.utf8))
            try await client.wait(for: Self.message(3, #"{"exit":7}"#) + [0x88, 2, 0x03, 0xE8])
            try await client.send(frame: 8, [0x03, 0xE8])
            try await client.drain()
        }
        let command = try #require(plane.commands.commands.first)
        #expect(command.words == ["sh", "-c", "a b"])
        #expect(command.hasInput && command.terminal == .init(columns: 90, rows: 30))
        #expect(plane.commands.reasons == [])
    }

    @Test func `a client that goes, and one that breaks the rules, end the session`() async throws {
        let plane = ScriptedControlPlane()
        try await connected(plane) { client in
            try await client.send(Self.upgrade("command=cat&stdin=true"))
            try await client.wait(for: Array("\r\n\r\n".utf8))
        }
        #expect(await eventually(within: .seconds(10)) { plane.commands.reasons == ["the client has gone"] })
        try await connected(plane) { client in
            try await client.send(Self.upgrade("command=cat&stdin=true"))
            try await client.wait(for: Array("\r\n\r\n".utf8))
            try await client.send(frame: 2, [1, 2, 3])
            try await client.wait(for: Array("channels 1 and 2 are the command's".utf8))
            try await client.drain()
        }
        #expect(plane.commands.reasons.count == 2)
    }

    @Test func `what is refused is refused before the upgrade, and the connection closed`() async throws {
        let plane = ScriptedControlPlane()
        for (request, status, words) in [
            (Self.upgrade("stdin=maybe&tty=true&columns=0"), "422", ["command", "stdin", "columns"]),
            (Self.upgrade("command=ls", headers: "Origin: https://evil.example\r\n"), "403", ["evil.example"]),
            (Self.upgrade("command=ls").replacing("/web/", with: "/gone/"), "404", ["app-not-found"]),
            (Self.upgrade("command=ls").replacing("v1.exec", with: "v9.exec"), "426", ["v1.exec.orchestry"]),
            (Self.upgrade("command=ls").replacing("websocket", with: "h2c"), "426", ["WebSocket"]),
        ] {
            try await connected(plane) { client in
                try await client.send(request)
                try await client.drain()
                #expect(client.text.hasPrefix("HTTP/1.1 \(status) "), "\(client.text)")
                for word in words { #expect(client.text.contains(word), "\(client.text)") }
            }
        }
        #expect(plane.commands.commands == [])
        #expect(plane.refusals.map(\.status).contains(422))
    }
}
