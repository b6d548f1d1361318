import OrchestryModel
import Scheduling
import Testing

/// An app that lacks a secret is held back; one whose secret changed is rolled over.
@Suite struct SecretHoldTests {
    private let password = SecretName(unchecked: "db-password")
    private func sealed(_ version: Int) -> SealedSecret {
        SealedSecret(name: password, version: version, keyID: "k", box: "box\(version)")
    }
    private func application(
        revision: Int = 1, image: String = "web:1", replicas: Int = 2, secret: Int?, inEnvironment: Bool = true
    ) -> Application {
        var spec = makeSpec("web", image: image)
        if inEnvironment { spec.environment = [.init(name: "DB_PASSWORD", source: .secret(password))] }
        if !inEnvironment { spec.imagePullSecret = password }
        var application = makeApplication(spec, revision: revision, replicas: replicas)
        application.secrets = secret.map { [sealed($0)] } ?? []
        return application
    }

    @Test func `without its secret no instance is made, once said why, and all are made when it is set`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(secret: nil)))
        #expect(bench.runs.isEmpty && bench.instances("web").isEmpty)
        #expect(bench.kinds == [.appHeld])
        #expect(bench.reconciler.explain(app("web")).contains { $0.contains("orchestry secret set db-password") })
        bench.send(.tick, after: 300)
        bench.send(.applicationChanged(application(replicas: 3, secret: nil)))
        #expect(bench.runs.isEmpty && !bench.kinds.contains(.appHeld))

        bench.send(.applicationChanged(application(replicas: 3, secret: 1)))
        #expect(bench.runs.count == 3)
        #expect(bench.runs.allSatisfy { $0.secrets == [sealed(1)] })
        #expect(!bench.reconciler.explain(app("web")).contains { $0.contains("db-password") })
    }

    @Test func `a held revision takes no instance of the old one, and its deadline waits`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(secret: 1)))
        bench.settle("web")
        let served = bench.targets("web")
        bench.send(.applicationChanged(application(revision: 2, image: "web:2", secret: nil)))
        #expect(bench.kinds.contains(.rolloutStarted) && bench.kinds.contains(.appHeld))
        for _ in 0..<5 {
            bench.send(.tick, after: 59)
            #expect(bench.reverts.isEmpty && bench.runs.isEmpty)
        }
        #expect(bench.targets("web") == served)
        bench.send(.applicationChanged(application(revision: 2, image: "web:2", secret: 2)))
        #expect(bench.runs.count == 1)
        bench.send(.tick, after: 59)
        #expect(bench.reverts.isEmpty, "the deadline counts from when it could begin")
        bench.settle("web")
        #expect(bench.instances("web").allSatisfy { $0.revision == 2 })
    }

    @Test func `scaling in goes on while an app is held`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(replicas: 3, secret: 1)))
        bench.settle("web")
        bench.send(.applicationChanged(application(replicas: 1, secret: nil)))
        bench.settle("web")
        #expect(bench.instances("web").count == 1)
        bench.send(.applicationDeleted(app("web")))
        bench.settle("web")
        for _ in 0..<5 { bench.finishDrains(of: "web") }
        #expect(bench.instances("web").isEmpty)
    }

    @Test func `a new registry secret reaches the agents without a new container`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(application(secret: 1, inEnvironment: false)))
        bench.settle("web")
        let before = Set(bench.instances("web").map(\.instance))
        bench.send(.applicationChanged(application(secret: 2, inEnvironment: false)))
        #expect(Set(bench.runs.map(\.instance)) == before)
        #expect(bench.runs.allSatisfy { $0.secrets == [sealed(2)] })
        #expect(Set(bench.instances("web").map(\.instance)) == before)
    }
}
