import Foundation
import Glibc

/// A TCP port of the loopback interface that nobody listens on now. Another process may take it before the caller does.
public func freePort() -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let status = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
        }
    }
    precondition(status, "no port of the loopback interface is free")
    return Int(UInt16(bigEndian: address.sin_port))
}

/// Asks again and again until the answer is yes.
/// - Returns: false when it was still no after `timeout`.
public func eventually(
    within timeout: Duration = .seconds(20), every pause: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async rethrows -> Bool {
    try await firstValue(within: timeout, every: pause) { try await condition() ? true : nil } ?? false
}

/// Asks again and again until there is an answer.
/// - Returns: nil when there was still none after `timeout`.
public func firstValue<Value>(
    within timeout: Duration = .seconds(20), every pause: Duration = .milliseconds(20),
    _ probe: () async throws -> Value?
) async rethrows -> Value? {
    let deadline = ContinuousClock.now.advanced(by: timeout)
    while true {
        if let value = try await probe() { return value }
        guard ContinuousClock.now < deadline else { return nil }
        // Cancellation ends the test anyway.
        try? await Task.sleep(for: pause)
    }
}

/// Waits a while that is part of a scenario (how long a fault lasts), as opposed to one for a condition.
public func hold(_ duration: Duration) async throws { try await Task.sleep(for: duration) }

/// Runs something that blocks on a thread of its own: the pool that runs tests has as many threads as there are cores.
public func onOwnThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try body() }) }.start()
    }
}
