import OrchestryModel

/// What instances of one revision are made from.
struct Recipe: Hashable, Sendable {
    var revision: Int
    /// The image by digest, where that is known.
    var spec: AppSpec
    var secrets: [SealedSecret]
    var replicas: Int

    /// - Parameter revision: the app's, or an earlier one that is made from the same.
    init(of application: Application, as revision: Int) {
        self.revision = revision
        spec = application.pinnedSpec
        secrets = application.secrets
        replicas = application.replicas
    }

    /// Of the revision that a rollout comes from; nil: not known.
    init?(before rollout: RolloutRecord, of application: Application) {
        guard let from = rollout.from, let previous = rollout.previousSpec else { return nil }
        revision = from
        spec = previous
        secrets = rollout.previousSecrets
        replicas = application.replicas
    }

    /// To run its release command; nobody asks how it is meanwhile.
    func releasing(_ step: AppSpec.RolloutPolicy.Release) -> Recipe {
        var recipe = self
        recipe.spec.command = step.command
        recipe.spec.arguments = nil
        recipe.spec.health = AppSpec.HealthCheck(kind: .none)
        recipe.spec.liveness = nil
        return recipe
    }

    func assignment(_ id: InstanceID, on node: NodeID) -> Assignment {
        Assignment(
            instance: id, revision: revision, node: node, spec: spec, replicas: replicas,
            secrets: secrets.filter { spec.secretNames.contains($0.name) })
    }
}
