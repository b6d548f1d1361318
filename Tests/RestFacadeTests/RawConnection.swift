import NIOCore
import NIOPosix

/// HTTP by hand, for requests no well-behaved client sends.
enum RawConnection {
    /// Sends a request and returns all that comes until the other side closes.
    /// - Parameter wait: until it returns nothing is read.
    static func read(
        port: Int, head: String, after wait: @Sendable () async throws -> Void = {}
    ) async throws -> String {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            // Small, so that the other side soon notices that nobody reads.
            .channelOption(.socketOption(.so_rcvbuf), value: 4_096)
            .connect(host: "localhost", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel,
                        configuration: .init(backPressureStrategy: .init(lowWatermark: 1, highWatermark: 2)))
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: head))
            try await wait()
            var answer = ""
            do {
                for try await part in inbound { answer += String(buffer: part) }
            } catch is IOError {
                // Cut off, with a reset where there was more to come.
            }
            return answer
        }
    }

    /// Sends `head`, `count` times `chunk`, `tail`; returns what came back until the answer's first part was read.
    static func exchange(port: Int, head: String, chunk: String = "", count: Int = 0, tail: String = "") async throws
        -> String
    {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: "localhost", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: head))
            for _ in 0..<count { try await outbound.write(ByteBuffer(string: chunk)) }
            try await outbound.write(ByteBuffer(string: tail))
            var answer = ""
            for try await part in inbound {
                answer += String(buffer: part)
                if answer.contains("\r\n\r\n") { break }
            }
            return answer
        }
    }
}
