import Foundation

/// Network namespaces of the test's own, each with a veth to one bridge, to which the test's process is connected too.
/// Cuts are made by packet filters inside a member's namespace, so that the test reaches every member all the time.
/// It all ends with the object and with the test's process, and so does whatever still runs in the namespaces.
///
/// Methods block for some milliseconds: call them on a thread of their own.
public final class NetworkLab: Sendable {
    /// One way through a member's network interface.
    public enum Way: String, CaseIterable, Sendable {
        case coming = "INPUT"
        case going = "OUTPUT"
    }

    private let prefix: String
    /// The first three numbers of all addresses: a network reserved for benchmarks (RFC 2544), which no route leads to.
    private let network: String
    private let members: [String]
    private let watchdog: Watchdog

    /// nil when it can be used here, else what is missing.
    public static var obstacle: String? {
        guard getuid() == 0 else { return "network namespaces need root" }
        for program in ["ip", "iptables", "iptables-restore", "nsenter"] {
            let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
            guard folders.contains(where: { access("\($0)/\(program)", X_OK) == 0 }) else {
                return "\(program) is not installed"
            }
        }
        // Containers have root without the right to make namespaces.
        do {
            try Shell.run("unshare --net true")
            return nil
        } catch {
            return "network namespaces are not allowed here"
        }
    }

    /// - Parameter members: short names, letters and digits.
    public init(members: [String]) throws {
        self.members = members
        let prefix = "oc" + String(UInt32.random(in: 0x1000...0xffff), radix: 16)
        let taken = try Shell.run("ip -o -4 addr show")
        let third = (0...255).shuffled().first { !taken.contains("198.18.\($0).") } ?? 0
        let network = "198.18.\(third)"
        self.prefix = prefix
        self.network = network
        watchdog = try Watchdog(
            """
            for name in "$@"; do ip netns pids "$name" | xargs -r kill -9; done
            for name in "$@"; do ip netns del "$name"; done
            """, (members + ["hub"]).map { "\(prefix)-\($0)" })
        try Shell.run(
            """
            set -e
            prefix=$1 network=$2
            shift 2
            ip netns add $prefix-hub
            ip -n $prefix-hub link add bridge type bridge
            ip -n $prefix-hub link set bridge up
            ip link add $prefix type veth peer name test netns $prefix-hub
            ip -n $prefix-hub link set test master bridge up
            ip addr add $network.1/24 dev $prefix
            ip link set $prefix up
            for member in "$@"; do
                name=${member%=*}
                ip netns add $prefix-$name
                ip -n $prefix-$name link set lo up
                ip -n $prefix-hub link add $name type veth peer name eth0 netns $prefix-$name
                ip -n $prefix-hub link set $name master bridge up
                ip -n $prefix-$name addr add $network.${member#*=}/24 dev eth0
                ip -n $prefix-$name link set eth0 up
            done
            """, [prefix, network] + members.enumerated().map { "\($1)=\(11 + $0)" })
    }

    /// Where members reach the test's process.
    public var testAddress: String { "\(network).1" }

    public func address(of member: String) -> String {
        "\(network).\(11 + (members.firstIndex(of: member) ?? 200))"
    }

    /// What to run to have a program inside a member's namespace; the process is the program's own in the end.
    /// - Parameter environment: all of it.
    public func command(
        in member: String, _ executable: String, _ arguments: [String], environment: [String: String]
    ) -> (executable: String, arguments: [String]) {
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        return (
            "/usr/bin/nsenter",
            ["--net=/run/netns/\(prefix)-\(member)", "/usr/bin/env", "-i"] + variables + [executable] + arguments
        )
    }

    /// Drops packets between a member and others, all rules taking effect at once.
    /// - Parameter probability: of each packet to be dropped.
    public func drop(
        at member: String, _ ways: Set<Way> = [.coming, .going], others: [String], probability: Double = 1
    ) throws {
        var rules = "*filter\n"
        for other in others {
            for way in Way.allCases where ways.contains(way) {
                let match = way == .coming ? "-s" : "-d"
                let chance = probability < 1 ? " -m statistic --mode random --probability \(probability)" : ""
                rules += "-A \(way.rawValue) \(match) \(address(of: other))\(chance) -j DROP\n"
            }
        }
        try Shell.run(
            "nsenter --net=/run/netns/$1 iptables-restore --wait --noflush <<END\n\(rules)COMMIT\nEND",
            ["\(prefix)-\(member)"])
    }

    /// Pulls a member's cable, at the bridge: also out of the test's reach.
    public func unplug(_ member: String) throws {
        try Shell.run("ip -n \"$1-hub\" link set \"$2\" down", [prefix, member])
    }

    public func plugIn(_ member: String) throws {
        try Shell.run("ip -n \"$1-hub\" link set \"$2\" up", [prefix, member])
    }

    /// Takes all cuts back.
    public func heal() throws {
        try Shell.run(
            "for name in \"$@\"; do nsenter --net=/run/netns/$name iptables --wait --flush; done",
            members.map { "\(prefix)-\($0)" })
    }
}
