import Foundation
import Glibc
import Synchronization

/// A Docker daemon of the test's own in a namespace of a lab, as on a host of its own: data, state, socket, bridges and
/// packet filters apart from the machine's. It ends with the object and with the test's process, and so do its containers.
///
/// It has a mount namespace of its own, so that no mount is left behind. Blocking: call it on a thread of its own.
public final class PrivateEngine: Sendable {
    public let socket: String
    private let folder: TemporaryFolder
    private let log: String
    private let command: (executable: String, arguments: [String])
    private let process: Mutex<ChildProcess>
    private let watchdog: Mutex<Watchdog?>

    /// nil when it can be used here, else what is missing.
    public static var obstacle: String? {
        if let obstacle = NetworkLab.obstacle { return obstacle }
        return Tool("dockerd") == nil ? "dockerd is not installed" : nil
    }

    /// Begins to start it; see `waitUntilReady`.
    /// - Parameter number: 1…200, another one for each engine of a lab: its containers' addresses.
    public init(in lab: NetworkLab, _ member: String, number: Int) throws {
        folder = try TemporaryFolder("dockerd")
        socket = folder.appending("docker.sock")
        log = folder.appending("log")
        try "{}".write(toFile: folder.appending("daemon.json"), atomically: true, encoding: .utf8)
        // Containers first, while there is a daemon to end them; then whatever is left of them, by their cgroups.
        let watchdog = try Watchdog(
            """
            folder=$1
            export DOCKER_HOST=unix://$folder/docker.sock
            timeout 20 docker ps -aq | xargs -r timeout 20 docker rm -f
            daemon=$(cat "$folder/pid")
            kill $daemon
            for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                [ -e /proc/$daemon/exe ] && sleep 0.25
            done
            kill -9 $daemon
            for container in "$folder"/data/containers/*; do
                id=${container##*/}
                cat /sys/fs/cgroup/pids/docker/$id/cgroup.procs /sys/fs/cgroup/docker/$id/cgroup.procs | xargs -r kill -9
            done
            sleep 0.2
            rm -rf "$folder"
            """, [folder.path])
        self.watchdog = Mutex(watchdog)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"
        command = lab.command(
            in: member, "/usr/bin/unshare",
            [
                "--mount", "--propagation", "private", "dockerd", "--host", "unix://\(socket)", "--config-file",
                folder.appending("daemon.json"), "--data-root", folder.appending("data"), "--exec-root",
                folder.appending("exec"), "--pidfile", folder.appending("pid"), "--bip", "10.\(50 + number).0.1/24",
                "--default-address-pool", "base=10.\(50 + number).128.0/17,size=24",
            ], environment: ["PATH": path])
        process = Mutex(try ChildProcess(command.executable, command.arguments, output: log, ownSession: true))
    }

    /// Ends the daemon, as for an upgrade, and begins to start it again: its containers end, too.
    public func restart() throws {
        process.withLock { $0 }.signal(SIGTERM)
        process.withLock { $0 }.wait()
        let next = try ChildProcess(command.executable, command.arguments, output: log, ownSession: true)
        process.withLock { $0 = next }
    }

    /// Waits until it answers, and gives it images of the machine's engine.
    public func waitUntilReady(loading images: [String]) throws {
        let script = """
            for turn in $(seq 300); do
                docker -H "unix://$1" version > /dev/null 2>&1 && break
                sleep 0.1
            done
            source=$2 target=unix://$1
            shift 2
            docker -H "unix://$source" save "$@" | docker -H "$target" load
            """
        do {
            try Shell.run(script, [socket, TestEngine.socket] + images)
        } catch {
            // Without its own words nobody knows why it does not come up.
            let words = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw Shell.Failure(description: "\(error)\n\(words.suffix(3_000))")
        }
    }

    /// Runs Docker's client against it.
    /// - Returns: its output.
    @discardableResult
    public func docker(_ arguments: [String]) throws -> String {
        try Shell.run("socket=$1\nshift\nexec docker -H \"unix://$socket\" \"$@\"", [socket] + arguments)
    }

    deinit {
        watchdog.withLock { $0 = nil }
        process.withLock { $0 }.wait()
    }
}
