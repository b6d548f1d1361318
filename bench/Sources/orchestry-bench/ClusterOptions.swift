import ArgumentParser
import Foundation

/// A running cluster of this machine. The defaults are those of `configs/dev/up`.
struct ClusterOptions: ParsableArguments {
    @Option(help: "The REST URLs of all controllers, separated by commas.")
    var target = "http://127.0.0.1:8101,http://127.0.0.1:8102,http://127.0.0.1:8103"
    @Option(help: "The URLs of their proxies, separated by commas.")
    var proxies = "http://127.0.0.1:8181,http://127.0.0.1:8182,http://127.0.0.1:8183"
    @Option(
        help: ArgumentHelp(
            "The folders of the proxies' nginx, in the same order, separated by commas: for counting reloads and reading counters.",
            valueName: "folders"))
    var proxyFolders = Self.developmentFolders
    @Flag(help: "Yes, change what runs on this cluster.") var yes = false

    private static var developmentFolders: String {
        let environment = ProcessInfo.processInfo.environment
        let folder =
            environment["ORCHESTRY_DEV_DIR"] ?? "\(environment["TMPDIR"] ?? "/tmp")/orchestry-dev-\(getuid())"
        return (1...3).map { "\(folder)/controller-\($0)/data/proxy" }.joined(separator: ",")
    }

    func validate() throws {
        try require(yes, "this changes what runs on the cluster: say --yes if that is what you want")
        _ = try Server.list(target, option: "--target")
        let proxies = try Server.list(proxies, option: "--proxies")
        try require(
            proxies.count == proxyFolders.split(separator: ",").count,
            "--proxies and --proxy-folders must name the same number")
    }

    func client() throws -> ControlClient { ControlClient(servers: try Server.list(target, option: "--target")) }
    func proxyServers() throws -> [Server] { try Server.list(proxies, option: "--proxies") }
    var folders: [NginxFolder] { proxyFolders.split(separator: ",").map { NginxFolder(path: String($0)) } }
}
