import AsyncHTTPClient
import Certificates
import Foundation
import NIOCore
import NIOHTTP1
import OrchestryModel

/// Looks at this machine: whether a node can work here.
struct HostCheckup {
    /// Where a node would keep its data; its nearest folder that is there counts.
    var dataFolder: String
    var ports: [Int]
    /// Files and folders with certificates in PEM.
    var certificates: [String]

    func findings() async -> [Finding] {
        var findings = [await engine(), proxy(), controlGroups(), disk(), clock()]
        findings += ports.map { port($0) }
        findings += certificates.flatMap { expiry(of: $0) }
        return findings
    }

    // MARK: Engine

    private static var engineSocket: String {
        let host = ProcessInfo.processInfo.environment["DOCKER_HOST", default: ""]
        return host.hasPrefix("unix://") ? String(host.dropFirst(7)) : "/var/run/docker.sock"
    }

    private func engine() async -> Finding {
        let socket = Self.engineSocket
        let advice = "apt-get install docker.io, or start it: systemctl start docker. (engine.socket names another.)"
        guard FileManager.default.fileExists(atPath: socket) else {
            return Finding("host", "engine", .error, "there is no \(socket)", advice)
        }
        do {
            let version = try await Self.engineVersion(socket)
            let name = version["Version"]?.stringValue ?? "of unknown version"
            guard let api = version["ApiVersion"]?.stringValue else {
                return Finding("host", "engine", .error, "\(socket) answers, but is no container engine", advice)
            }
            return Finding("host", "engine", .ok, "version \(name), API \(api)")
        } catch {
            return Finding("host", "engine", .error, "\(socket) does not answer: \(error)", advice)
        }
    }

    private static func engineVersion(_ socket: String) async throws -> JSONValue {
        let path = socket.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        var request = HTTPClientRequest(url: "http+unix://\(path)/version")
        // The client names none for a socket, and HTTP/1.1 asks for one.
        request.headers.add(name: "Host", value: "localhost")
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(5))
        let body = try await response.body.collect(upTo: 1 << 20)
        return try JSONValue(json: body.readableBytesView)
    }

    // MARK: Proxy

    private func proxy() -> Finding {
        let path = ProcessInfo.processInfo.environment["PATH", default: ""].split(separator: ":").map(String.init)
        let folders = path + ["/usr/sbin", "/usr/local/sbin"]
        let binaries: [String] = folders.map { $0 + "/nginx" }
        guard let binary = binaries.first(where: { access($0, X_OK) == 0 }) else {
            return Finding(
                "host", "nginx", .error, "there is no program nginx",
                "apt-get install nginx libnginx-mod-http-lua lua-resty-core")
        }
        let needed = [
            "/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so",
            "/usr/share/lua/5.1/resty/core.lua",
        ]
        let missing = needed.filter { access($0, R_OK) != 0 }
        guard missing.isEmpty else {
            return Finding(
                "host", "nginx", .warning, "\(binary) has no Lua module (\(missing.joined(separator: ", ")))",
                "apt-get install libnginx-mod-http-lua lua-resty-core; else each change reloads nginx, and scaling sees "
                    + "CPU and memory only.")
        }
        return Finding("host", "nginx", .ok, "\(binary), with the Lua module")
    }

    // MARK: Kernel

    private func controlGroups() -> Finding {
        let places = [
            "/sys/fs/cgroup/cgroup.controllers": "version 2", "/sys/fs/cgroup/memory/memory.stat": "version 1",
        ]
        guard let found = places.sorted(by: { $0.key < $1.key }).first(where: { access($0.key, R_OK) == 0 }) else {
            return Finding(
                "host", "control groups", .warning, "neither version 1 nor 2 is readable under /sys/fs/cgroup",
                "CPU and memory are asked of the engine then, which costs more. In a container: mount /sys/fs/cgroup.")
        }
        return Finding("host", "control groups", .ok, found.value)
    }

    private static let timeServices: Set<String> = [
        "chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn", "ptp4l",
    ]

    private func clock() -> Finding {
        // Unreadable: nothing is found, which is said.
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        let names = processes.filter { Int($0) != nil }.compactMap { process in
            // One that has just ended has no name.
            try? String(contentsOfFile: "/proc/\(process)/comm", encoding: .utf8).trimmingCharacters(in: .newlines)
        }
        guard let service = names.first(where: Self.timeServices.contains) else {
            return Finding(
                "host", "clock", .warning, "no time service runs here",
                "apt-get install chrony, or in a virtual machine see that its host keeps the clock right: events and "
                    + "certificates go by it.")
        }
        return Finding("host", "clock", .ok, "\(service) keeps it right")
    }

    // MARK: Ports and disk

    private func port(_ port: Int) -> Finding {
        let name = "port \(port)"
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else {
            return Finding("host", name, .warning, "no socket can be made to try it", "ulimit -n")
        }
        defer { close(descriptor) }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result != 0 else { return Finding("host", name, .ok, "free") }
        let code = errno
        if code == EACCES {
            return Finding(
                "host", name, .warning, "this user may not listen there",
                "Run orchestryd with CAP_NET_BIND_SERVICE, or choose a port above 1023.")
        }
        return Finding(
            "host", name, .warning, "taken (\(String(cString: strerror(code)).lowercased()))",
            "Fine if it is orchestryd or its nginx: ss -ltnp 'sport = :\(port)' shows who.")
    }

    private func disk() -> Finding {
        var folder = dataFolder
        while !FileManager.default.fileExists(atPath: folder), folder.count > 1 {
            folder = (folder as NSString).deletingLastPathComponent
        }
        var figures = statvfs()
        guard statvfs(folder, &figures) == 0, figures.f_blocks > 0 else {
            return Finding("host", "disk", .warning, "\(folder) cannot be looked at", "Name it with --data FOLDER.")
        }
        let free = Double(figures.f_bavail) * Double(figures.f_frsize)
        let share = Double(figures.f_bavail) / Double(figures.f_blocks)
        let words = "\(Output.decimal(free / 0x1p30)) GiB (\(Int(share * 100))%) free at \(folder)"
        let advice = "Make room: docker image prune, old logs. A node that can't write its outbox stops."
        if free < 0x1p28 { return Finding("host", "disk", .error, words, advice) }
        return free < 0x1p31 || share < 0.05
            ? Finding("host", "disk", .warning, words, advice) : Finding("host", "disk", .ok, words)
    }

    // MARK: Certificates

    private func expiry(of path: String) -> [Finding] {
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        guard exists else {
            return [Finding("host", "certificate", .error, "there is no \(path)", "orchestry certs issue")]
        }
        let names =
            isFolder.boolValue
            ? ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [])  // Unreadable: none, which is said.
                .filter { $0.hasSuffix(".pem") || $0.hasSuffix(".crt") }.sorted().map { "\(path)/\($0)" }
            : [path]
        guard !names.isEmpty else {
            return [Finding("host", "certificate", .warning, "\(path) holds no .pem or .crt", "Name the file.")]
        }
        return names.flatMap(expiries)
    }

    private func expiries(_ file: String) -> [Finding] {
        guard let pem = try? String(contentsOfFile: file, encoding: .utf8) else {
            return [Finding("host", "certificate", .error, "\(file) cannot be read", "Run as a user who may.")]
        }
        do {
            return try CertificateSummary.all(pem: pem).map { summary in
                let days = Int(summary.notAfter.timeIntervalSinceNow / 86_400)
                let until = "\(file) (\(summary.subject)) ends in \(days) days"
                if days < 0 {
                    return Finding(
                        "host", "certificate", .error, "\(file) (\(summary.subject)) has ended",
                        "orchestry certs rotate renews a cluster's, without a restart.")
                }
                return days < 30
                    ? Finding("host", "certificate", .warning, until, "orchestry certs rotate")
                    : Finding("host", "certificate", .ok, until)
            }
        } catch {
            return [Finding("host", "certificate", .error, "\(file): \(error.message)", "Issue it anew.")]
        }
    }
}
