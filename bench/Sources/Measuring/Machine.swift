import Foundation

/// Where and when a benchmark ran.
package struct Machine: Hashable, Sendable, Encodable {
    package var cores: Int
    /// For example `AMD EPYC 7B13`; nil: not known here.
    package var processor: String?
    package var memoryBytes: UInt64
    /// For example `Linux 6.1.0-25-amd64 x86_64`.
    package var kernel: String
    /// ISO 8601, by this machine's clock.
    package var date: String
    /// Runnable processes over the last minute when the benchmark ended; nil: not known here.
    package var load: Double?
    package var isDebugBuild: Bool

    package static func current() -> Machine {
        var names = utsname()
        uname(&names)
        var load = 0.0
        #if DEBUG
            let isDebug = true
        #else
            let isDebug = false
        #endif
        return Machine(
            cores: ProcessInfo.processInfo.activeProcessorCount, processor: processor,
            memoryBytes: ProcessInfo.processInfo.physicalMemory,
            kernel: [text(names.sysname), text(names.release), text(names.machine)].joined(separator: " "),
            date: Date().formatted(.iso8601), load: getloadavg(&load, 1) == 1 ? load : nil, isDebugBuild: isDebug)
    }

    package var line: String {
        let load = load.map { ", load \(Report.format($0))" } ?? ""
        let processor = processor.map { " of \($0)" } ?? ""
        let memory = Report.format(Double(memoryBytes) / 1_073_741_824)
        return "\(cores) cores\(processor), \(memory) GiB, \(kernel), \(date)\(load)"
            + (isDebugBuild ? "  (DEBUG BUILD: numbers mean nothing)" : "")
    }

    private static var processor: String? {
        // No such file: not known.
        let lines = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n")
        let name = lines?.first { $0.hasPrefix("model name") }?.split(separator: ":").last
        return name.map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// - Parameter field: a C array of characters, which Swift sees as a tuple.
    private static func text<Field>(_ field: Field) -> String {
        withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

/// Bytes of this process in memory; nil where there is no `/proc`.
package func residentBytes() -> Double? {
    guard let status = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),  // No file: not known.
        let pages = status.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
    else { return nil }
    return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
}
