import Glibc
import OrchestryModel

/// The kernel's accounting files of one container. Its calls block (shortly): only for a thread of one's own.
struct ControlGroup: Hashable, Sendable {
    /// Cumulative CPU time: `cpuacct.usage` (v1, nanoseconds) or `cpu.stat` (v2, `usage_usec`).
    let cpuFile: String
    let memoryFile: String
    let memoryDetailsFile: String
    let isUnified: Bool

    /// Looks for a container's files where Docker and Podman put them, with either of their cgroup drivers.
    /// - Parameter root: usually `/sys/fs/cgroup`.
    /// - Returns: nil when there are none: another host's container, no permission, or an unusual layout.
    static func find(_ containerID: String, root: String) -> ControlGroup? {
        let places = [
            "docker/\(containerID)", "system.slice/docker-\(containerID).scope",
            "machine.slice/libpod-\(containerID).scope", "libpod_parent/libpod-\(containerID)",
        ]
        for place in places {
            let unified = "\(root)/\(place)"
            if isReadable("\(unified)/cpu.stat"), isReadable("\(unified)/memory.current") {
                return ControlGroup(
                    cpuFile: "\(unified)/cpu.stat", memoryFile: "\(unified)/memory.current",
                    memoryDetailsFile: "\(unified)/memory.stat", isUnified: true)
            }
            let memory = "\(root)/memory/\(place)"
            for controller in ["cpuacct", "cpu,cpuacct"] {
                let cpu = "\(root)/\(controller)/\(place)/cpuacct.usage"
                if isReadable(cpu), isReadable("\(memory)/memory.usage_in_bytes") {
                    return ControlGroup(
                        cpuFile: cpu, memoryFile: "\(memory)/memory.usage_in_bytes",
                        memoryDetailsFile: "\(memory)/memory.stat", isUnified: false)
                }
            }
        }
        return nil
    }

    /// - Returns: nil when the container has ended.
    func read() -> UsageReading? {
        guard let cpuText = Self.text(cpuFile), let memoryText = Self.text(memoryFile),
            let details = Self.text(memoryDetailsFile), let memory = Self.number(memoryText),
            let cpu = isUnified ? Self.field("usage_usec", in: cpuText).map({ $0 * 1_000 }) : Self.number(cpuText)
        else { return nil }
        // v1 has `inactive_file` of the group alone too; the total includes groups below it, as `usage_in_bytes` does.
        let cache = Self.field(isUnified ? "inactive_file" : "total_inactive_file", in: details) ?? 0
        return UsageReading(
            cpuNanoseconds: UInt64(max(0, cpu)), memoryBytes: max(0, memory - cache), at: MonotonicClock.now())
    }

    private static func isReadable(_ path: String) -> Bool { access(path, R_OK) == 0 }

    /// A whole small file; these are made by the kernel on each read.
    private static func text(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 16 << 10)
        var length = 0
        while length < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(file, buffer.baseAddress.map { $0 + length }, buffer.count - length)
            }
            if count < 0 { return nil }
            if count == 0 { break }
            length += count
        }
        return Array(bytes.prefix(length))
    }

    static func number(_ text: some Sequence<UInt8>) -> Int64? {
        var value: Int64?
        for byte in text {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { break }
            let (scaled, overflow) = (value ?? 0).multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.addingReportingOverflow(Int64(byte - UInt8(ascii: "0")))
            if overflow || carry { return nil }
            value = sum
        }
        return value
    }

    /// The number after `name` and a space at the start of a line.
    static func field(_ name: String, in text: [UInt8]) -> Int64? {
        let key = Array(name.utf8) + [UInt8(ascii: " ")]
        for line in text.split(separator: UInt8(ascii: "\n")) where line.starts(with: key) {
            return number(line.dropFirst(key.count))
        }
        return nil
    }
}

/// This node's monotonic clock.
enum MonotonicClock {
    static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
