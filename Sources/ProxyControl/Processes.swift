import Glibc

/// What Linux tells about processes. An nginx process is known by its title and by its working directory, which is the
/// folder it was started in: a pid alone may by now be somebody else's.
enum Processes {
    static let master = "nginx: master process"
    static let worker = "nginx: worker process"

    /// False for a zombie too.
    static func isAlive(_ pid: Int32) -> Bool {
        guard pid > 0, let stat = Files.text("/proc/\(pid)/stat"), let end = stat.lastIndex(of: ")") else {
            return false
        }
        let state = stat[end...].dropFirst(2).first
        return state != "Z" && state != "X"
    }

    /// Empty when there is no such process.
    static func title(_ pid: Int32) -> String {
        let bytes = (Files.read("/proc/\(pid)/cmdline") ?? []).map { $0 == 0 ? UInt8(ascii: " ") : $0 }
        var text = String(decoding: bytes, as: UTF8.self)[...]
        while text.last == " " { text.removeLast() }
        return String(text)
    }

    static func isMaster(_ pid: Int32, of folder: String) -> Bool {
        isAlive(pid) && title(pid).hasPrefix(master) && workingDirectory(pid) == folder
    }

    static func workingDirectory(_ pid: Int32) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/\(pid)/cwd", &buffer, buffer.count)
        guard count > 0 else { return nil }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func parent(_ pid: Int32) -> Int32? {
        guard let stat = Files.text("/proc/\(pid)/stat"), let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[end...].dropFirst(2).split(separator: " ")
        return fields.count > 1 ? Int32(fields[1]) : nil
    }

    static func all() -> [Int32] {
        guard let folder = opendir("/proc") else { return [] }
        defer { closedir(folder) }
        var pids: [Int32] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let pid = Int32(name) { pids.append(pid) }
        }
        return pids
    }

    /// The master's children that take connections: those that are leaving have another title.
    static func servingWorkers(of pid: Int32) -> Set<Int32> {
        let children: [Int32]
        if let text = Files.text("/proc/\(pid)/task/\(pid)/children") {
            children = text.split(separator: " ").compactMap { Int32($0) }
        } else {
            children = all().filter { parent($0) == pid }
        }
        return Set(children.filter { title($0) == worker })
    }

    /// nginx processes of the folder whose master is gone.
    static func orphans(in folder: String) -> [Int32] {
        all().filter { pid in
            title(pid).hasPrefix("nginx: ") && workingDirectory(pid) == folder && isAlive(pid)
                && !isMaster(pid, of: folder) && !(parent(pid).map { isMaster($0, of: folder) } ?? false)
        }
    }
}
