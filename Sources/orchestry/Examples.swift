/// Examples at the end of a command's help, for those whose own text has none. In one place, so that a test sees that no
/// command is without.
enum Examples {
    static let all: [String: [String]] = [
        "register": ["orchestry register shop.yaml", "orchestry spec shop --document | orchestry register -"],
        "down": ["orchestry down shop && orchestry wait shop --for stopped"],
        "delete": ["orchestry delete shop --force"],
        "scale": ["orchestry scale shop 8", "orchestry scale shop 8 --for 2h"],
        "retry": ["orchestry retry shop"],
        "list": ["orchestry list -o wide", "orchestry list -o json | jq -r '.apps[].name'"],
        "status": ["orchestry status shop -o wide"],
        "spec": ["orchestry spec shop --document > shop.yaml"],
        "autoscale pause": ["orchestry autoscale pause shop --in --for 30m"],
        "autoscale resume": ["orchestry autoscale resume shop"],
        "certs init": ["orchestry certs init --dir certs"],
        "certs issue": ["orchestry certs issue controller-1 --address 10.0.0.1 --dir certs"],
        "certs show": ["orchestry certs show certs/controller-1.pem"],
        "cluster status": ["orchestry cluster status"], "cluster leader": ["orchestry cluster leader -o json"],
        "cluster health": ["orchestry cluster health --server http://10.0.0.2:8000"],
        "cluster step-down": ["orchestry cluster step-down && orchestry cluster leader"],
        "cluster rebalance": ["orchestry cluster rebalance --max-moves 2"],
        "config set": ["orchestry config set --host 10.0.0.1 --port 8000"], "config show": ["orchestry config show"],
        "context list": ["orchestry context list"], "version": ["orchestry version"],
        "node list": ["orchestry node list"], "node cordon": ["orchestry node cordon controller-2"],
        "node uncordon": ["orchestry node uncordon controller-2"],
        "node drain": ["orchestry node drain controller-2 --deadline 10m"],
        "metrics": ["orchestry metrics", "orchestry metrics shop"],
        "exec": ["orchestry exec shop -- ls /srv", "orchestry exec -it shop -- sh"],
        "logs": ["orchestry logs shop -n 20", "orchestry logs shop -f"],
        "events": ["orchestry events --app shop --limit 20", "orchestry events --watch -o json"],
        "why": ["orchestry why shop"], "info": ["orchestry info"],
        "rollback": ["orchestry rollback shop", "orchestry rollback shop --to 4"],
        "revisions": ["orchestry revisions shop"],
        "rollout pause": ["orchestry rollout pause shop"], "rollout resume": ["orchestry rollout resume shop"],
        "rollout abort": ["orchestry rollout abort shop"],
        "secret set": [
            "orchestry secret set shop-db < password.txt", "orchestry secret set site-crt --from-file fullchain.pem",
        ],
        "token create": ["orchestry token create ci --role operator --apps shop"],
        "token list": ["orchestry token list"],
        "token revoke": ["orchestry token revoke ci"],
        "token generate": ["orchestry token generate /etc/orchestry/bootstrap.token"],
        "audit list": ["orchestry audit list --limit 20"], "audit verify": ["orchestry audit verify"],
        "secret list": ["orchestry secret list"], "secret rm": ["orchestry secret rm shop-db"],
        "secret key": ["orchestry secret key /etc/orchestry/secrets.key"],
    ]

    /// The paragraph for the command that these arguments ask help about; nil: there is none for it.
    static func text(for arguments: [String]) -> String? {
        var words = arguments.filter { !$0.hasPrefix("-") }
        if words.first == "help" { words.removeFirst() }
        for count in stride(from: min(2, words.count), to: 0, by: -1) {
            guard let examples = all[words.prefix(count).joined(separator: " ")] else { continue }
            return "EXAMPLE" + (examples.count == 1 ? "" : "S") + ":\n" + examples.map { "  \($0)\n" }.joined()
        }
        return nil
    }
}
