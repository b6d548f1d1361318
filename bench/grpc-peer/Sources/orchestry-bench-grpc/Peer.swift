import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import NIOPosix

/// What `orchestry-bench protocol --grpc` starts: a gRPC server and a client of it in this process, with one event-loop
/// thread each as the other contenders have, told by lines on standard input what to do. The first line it writes is the
/// server's port; then each line it reads gets one back:
///
/// | line | answer |
/// | --- | --- |
/// | `connect PORT` | `ok`; the client is connected from then on, there is none before |
/// | `trips KIND COUNT` | nanoseconds of each round trip, separated by spaces |
/// | `pipelined KIND COUNT WINDOW` | nanoseconds of all |
/// | `allocations` | calls of `malloc` so far; -1 where nothing counts them |
///
/// KIND is `unary`, a call for each message, or `stream`, all messages in one call that streams both ways. An answer that
/// begins with `error` says what went wrong. It ends with its standard input.
@main
struct Peer {
    struct TLS {
        var authority: String
        /// Certificate and key, as PEM files.
        var server: (String, String)
        var client: (String, String)
    }

    static func main() async throws {
        let words = Array(CommandLine.arguments.dropFirst())
        guard let payload = words.first.flatMap({ Int($0) }), payload > 0, [1, 6].contains(words.count) else {
            let usage = "usage: orchestry-bench-grpc BYTES [CA SERVER-PEM SERVER-KEY CLIENT-PEM CLIENT-KEY]\n"
            FileHandle.standardError.write(Data(usage.utf8))
            exit(64)
        }
        let tls =
            words.count == 6
            ? TLS(authority: words[1], server: (words[2], words[3]), client: (words[4], words[5])) : nil
        let groups = [MultiThreadedEventLoopGroup(numberOfThreads: 1), MultiThreadedEventLoopGroup(numberOfThreads: 1)]
        let transport = HTTP2ServerTransport.Posix(
            address: .ipv4(host: "127.0.0.1", port: 0), transportSecurity: server(tls), eventLoopGroup: groups[0])
        try await withGRPCServer(transport: transport, services: [EchoService()]) { server in
            guard let port = try await server.listeningAddress?.ipv4?.port else {
                throw RPCError(code: .unavailable, message: "the server has no address")
            }
            say(String(port))
            var lines = linesOfInput().makeAsyncIterator()
            guard let line = await lines.next(isolation: #isolation), let target = Self.port(in: line) else { return }
            // As a name for the certificate: of an address there can be none.
            let client = try HTTP2ClientTransport.Posix(
                target: .ipv4(address: "127.0.0.1", port: target), transportSecurity: Self.client(tls),
                config: .defaults { $0.http2.authority = "bench-b" }, eventLoopGroup: groups[1])
            try await withGRPCClient(transport: client) { client in
                let exchange = Exchange(client: client, payload: [UInt8](repeating: 0x61, count: payload))
                // Connected only when an answer is there.
                _ = try await exchange.trips("unary", 1)
                say("ok")
                while let line = await lines.next(isolation: #isolation) {
                    do {
                        say(try await answer(line, exchange))
                    } catch {
                        say("error \(error)".replacing("\n", with: " "))
                    }
                }
            }
        }
    }

    private static func answer(_ line: String, _ exchange: Exchange) async throws -> String {
        let words = line.split(separator: " ").map(String.init)
        let numbers = words.dropFirst(2).compactMap { Int($0) }
        switch (words.first, numbers.count) {
        case ("trips", 1):
            return try await exchange.trips(words[1], numbers[0]).map(String.init).joined(separator: " ")
        case ("pipelined", 2): return String(try await exchange.pipelined(words[1], numbers[0], window: numbers[1]))
        case ("allocations", 0): return allocations().map(String.init) ?? "-1"
        default: return "error not understood: \(line)"
        }
    }

    private static func port(in line: String) -> Int? {
        let words = line.split(separator: " ")
        return words.count == 2 && words[0] == "connect" ? Int(words[1]) : nil
    }

    /// As the other contenders have it: both sides prove who they are.
    private static func server(_ tls: TLS?) -> HTTP2ServerTransport.Posix.TransportSecurity {
        guard let tls else { return .plaintext }
        return .mTLS(
            certificateChain: [.file(path: tls.server.0, format: .pem)],
            privateKey: .file(path: tls.server.1, format: .pem)
        ) { $0.trustRoots = .certificates([.file(path: tls.authority, format: .pem)]) }
    }

    private static func client(_ tls: TLS?) -> HTTP2ClientTransport.Posix.TransportSecurity {
        guard let tls else { return .plaintext }
        return .mTLS(
            certificateChain: [.file(path: tls.client.0, format: .pem)],
            privateKey: .file(path: tls.client.1, format: .pem)
        ) { $0.trustRoots = .certificates([.file(path: tls.authority, format: .pem)]) }
    }

    /// Read on a thread of its own: a blocked thread of the shared pool would be missed by gRPC.
    private static func linesOfInput() -> AsyncStream<String> {
        let (stream, continuation) = AsyncStream<String>.makeStream()
        Thread {
            while let line = readLine() { continuation.yield(line) }
            continuation.finish()
        }.start()
        return stream
    }

    private static func say(_ line: String) {
        do {
            try FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
        } catch {
            // Whoever started this is gone.
            exit(1)
        }
    }

    /// The counter of `libCountAllocations.so`, where that was loaded before this program.
    private static func allocations() -> UInt64? {
        guard let symbol = dlsym(nil, "orchestry_bench_allocations") else { return nil }
        // The symbol's type is what that library's source says.
        return unsafeBitCast(symbol, to: (@convention(c) () -> UInt64).self)()
    }
}
