import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Synchronization

/// Messages from the client to the server and back.
struct Exchange: Sendable {
    let client: GRPCClient<HTTP2ClientTransport.Posix>
    let payload: [UInt8]

    /// One message after the other.
    /// - Returns: nanoseconds of each.
    func trips(_ kind: String, _ count: Int) async throws -> [UInt64] {
        switch kind {
        case "unary":
            var times: [UInt64] = []
            times.reserveCapacity(count)
            for _ in 0..<count {
                let start = now()
                try await call()
                times.append(now() - start)
            }
            return times
        case "stream": return try await streamedTrips(count)
        default: throw RPCError(code: .invalidArgument, message: "not unary or stream: \(kind)")
        }
    }

    /// - Parameter window: messages in flight.
    /// - Returns: nanoseconds from the first message to the last answer.
    func pipelined(_ kind: String, _ count: Int, window: Int) async throws -> UInt64 {
        switch kind {
        case "unary": return try await pipelinedCalls(count, window)
        case "stream": return try await pipelinedStream(count, window)
        default: throw RPCError(code: .invalidArgument, message: "not unary or stream: \(kind)")
        }
    }

    // MARK: A call for each message

    private func call() async throws {
        let answer = try await client.unary(
            request: ClientRequest(message: payload), descriptor: EchoService.unary, serializer: BytesCoder(),
            deserializer: BytesCoder(), options: .defaults
        ) { try $0.message }
        guard answer.count == payload.count else { throw RPCError(code: .dataLoss, message: "another answer") }
    }

    private func pipelinedCalls(_ count: Int, _ window: Int) async throws -> UInt64 {
        let begun = Counter(0)
        let start = now()
        try await withThrowingDiscardingTaskGroup { group in
            for _ in 0..<window {
                group.addTask {
                    while begun.add(1) <= count { try await call() }
                }
            }
        }
        return now() - start
    }

    // MARK: All messages in one call

    /// Written from where the answers are read, so that no task is woken in between.
    private func streamedTrips(_ count: Int) async throws -> [UInt64] {
        let (writers, opened) = AsyncStream<RPCWriter<[UInt8]>>.makeStream()
        let (end, ending) = AsyncStream<Never>.makeStream()
        let payload = payload
        return try await stream(
            StreamingClientRequest { writer in
                opened.yield(writer)
                for await _ in end {}
            }
        ) { answers in
            defer { ending.finish() }
            var writing = writers.makeAsyncIterator()
            guard let writer = await writing.next() else { return [] }
            var times: [UInt64] = []
            times.reserveCapacity(count)
            var reading = answers.makeAsyncIterator()
            for _ in 0..<count {
                let start = now()
                try await writer.write(payload)
                guard try await reading.next()?.count == payload.count else {
                    throw RPCError(code: .dataLoss, message: "another answer, or none")
                }
                times.append(now() - start)
            }
            return times
        }
    }

    /// What may be sent is written at once, however much it is: gRPC is at its best then.
    private func pipelinedStream(_ count: Int, _ window: Int) async throws -> UInt64 {
        let (signals, signal) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let allowed = Counter(window)
        let payload = payload
        let start = now()
        signal.yield()
        return try await stream(
            StreamingClientRequest { writer in
                var sent = 0
                for await _ in signals {
                    let number = min(allowed.take(), count - sent)
                    if number > 0 { try await writer.write(contentsOf: repeatElement(payload, count: number)) }
                    sent += number
                    if sent == count { return }
                }
            }
        ) { answers in
            var received = 0
            for try await answer in answers {
                guard answer.count == payload.count else { break }
                received += 1
                _ = allowed.add(1)
                signal.yield()
                if received == count { break }
            }
            guard received == count else { throw RPCError(code: .dataLoss, message: "another answer, or none") }
            return now() - start
        }
    }

    private func stream<Value: Sendable>(
        _ request: StreamingClientRequest<[UInt8]>,
        _ read: @Sendable @escaping (RPCAsyncSequence<[UInt8], any Error>) async throws -> Value
    ) async throws -> Value {
        try await client.bidirectionalStreaming(
            request: request, descriptor: EchoService.stream, serializer: BytesCoder(), deserializer: BytesCoder(),
            options: .defaults
        ) { try await read($0.messages) }
    }
}

private final class Counter: Sendable {
    private let value: Atomic<Int>
    init(_ value: Int) { self.value = Atomic(value) }
    /// - Returns: the sum.
    func add(_ number: Int) -> Int { value.add(number, ordering: .acquiringAndReleasing).newValue }
    /// - Returns: what it was; it is 0 then.
    func take() -> Int { value.exchange(0, ordering: .acquiringAndReleasing) }
}

/// Nanoseconds of a clock that is never set.
func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
