import OrchestryModel
import Scheduling
import Testing

/// An app that lacks a secret, or whose image is not accepted, is held back.
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

    @Test func `an image that is being looked up holds the app, then its digest is what runs`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        var looked = makeApplication(makeSpec("web", image: "reg.example:5000/shop/web:1"), replicas: 1)
        looked.imageReview = ImageReview(revision: 1, verdict: .pending)
        bench.send(.applicationChanged(looked))
        #expect(bench.runs.isEmpty)
        #expect(bench.reconciler.explain(app("web")).contains { $0.contains("being looked up") })
        looked.imageReview = ImageReview(revision: 1, verdict: .accepted, digest: "sha256:abc")
        bench.send(.applicationChanged(looked))
        #expect(bench.runs.map(\.spec.image) == ["reg.example:5000/shop/web@sha256:abc"])
        // A review of another revision counts for nothing.
        looked.revision = 2
        #expect(looked.pinnedSpec.image == "reg.example:5000/shop/web:1" && looked.reasonToHold == nil)
    }

    @Test func `a refused revision is given up at once, and nothing that serves is touched`() throws {
        var bench = LeaderBench()
        bench.takeOver()
        bench.send(.applicationChanged(makeApplication(makeSpec("web"), replicas: 2)))
        bench.settle("web")
        let served = bench.targets("web")
        var next = makeApplication(makeSpec("web", image: "web:2"), revision: 2, replicas: 2)
        next.imageReview = ImageReview(revision: 2, verdict: .pending)
        bench.send(.applicationChanged(next))
        next.imageReview = ImageReview(revision: 2, verdict: .refused, reason: "CVE-1")
        bench.send(.applicationChanged(next))
        #expect(bench.reverts == [1])
        #expect(bench.kinds.contains(.rolloutFailed))
        #expect(bench.targets("web") == served && bench.runs.isEmpty)
        bench.send(.tick, after: 600)
        #expect(bench.reverts.isEmpty)
        #expect(bench.reconciler.explain(app("web")).contains { $0.contains("refused: CVE-1") })
    }
}
