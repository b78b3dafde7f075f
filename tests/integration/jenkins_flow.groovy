/* Runs a declarative Jenkinsfile on this machine: groovy jenkins_flow.groovy JENKINSFILE PROJECT OUTPUT [NAME=VALUE ...]
 * `env.NAME=VALUE` is a variable of the build, any other a parameter.
 *
 * A stand-in for Jenkins that knows the part of the language that our Jenkinsfile uses, and refuses all else. It reads
 * the whole pipeline before it runs any of it; then stages, post sections and steps do what Jenkins documents: `sh` runs
 * for real, each agent has a fresh workspace with the project checked out, two agents work at a time, a failed stage
 * skips those after it, stash, junit, archiveArtifacts and publishHTML copy files to OUTPUT. The last line is the
 * result; the exit code is 0 for SUCCESS only. It proves the flow, not Jenkins' own validation, plugins or sandbox.
 */
import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.util.concurrent.Semaphore
import org.codehaus.groovy.control.CompilerConfiguration

class Refused extends RuntimeException {
    Refused(String message) { super(message) }
}

class Failed extends RuntimeException {
    Failed(String message) { super(message) }
}

/** What a section of the language has; any other word is refused. */
class Section {
    String section
    def methodMissing(String word, Object arguments) { throw new Refused("${section}: there is no '${word}' here") }
    def propertyMissing(String word) { throw new MissingPropertyException(word, getClass()) }

    static void fill(Object target, Closure body) {
        body.delegate = target
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
    }

    static void need(boolean holds, String message) {
        if (!holds) { throw new Refused(message) }
    }
}

class AgentSection extends Section {
    String label
    void label(String name) { label = name }
}

class OptionsSection extends Section {
    Map found = [:]
    void timeout(Map given) { need(given.keySet() == ['time', 'unit'] as Set, "timeout: ${given}"); found.timeout = given }
    void buildDiscarder(Map rotator) { found.buildDiscarder = rotator }
    Map logRotator(Map given) { given }
    void disableConcurrentBuilds(Map given) { found.disableConcurrentBuilds = given }
}

class ParametersSection extends Section {
    Map defaults = [:]
    Map choices = [:]
    void choice(Map given) { defaults[given.name] = given.choices[0]; choices[given.name] = given.choices }
    void booleanParam(Map given) { defaults[given.name] = given.defaultValue; choices[given.name] = [true, false] }
}

class EnvironmentSection {
    Map values = [:]
    void setProperty(String name, Object value) { values[name] = value.toString() }
}

class WhenSection extends Section {
    Closure condition
    void beforeAgent(boolean yes) { }
    void expression(Closure body) { condition = body }
}

class PostSection extends Section {
    Map<String, Closure> bodies = [:]
    void always(Closure body) { bodies.always = body }
    void failure(Closure body) { bodies.failure = body }
    void success(Closure body) { bodies.success = body }
}

class StagesSection extends Section {
    List<StageSection> stages = []
    void stage(String name, Closure body) {
        need(!stages.any { it.name == name }, "two stages are called '${name}'")
        def stage = new StageSection(section: "stage '${name}'", name: name)
        fill(stage, body)
        stage.check()
        stages << stage
    }
}

class StageSection extends Section {
    String name
    String label
    Closure condition
    Closure body
    List<StageSection> parallelStages
    PostSection after
    void agent(Closure given) { def agent = new AgentSection(section: 'agent'); fill(agent, given); label = agent.label }
    void when(Closure given) { def found = new WhenSection(section: 'when'); fill(found, given); condition = found.condition }
    void steps(Closure given) { body = given }
    void post(Closure given) { after = new PostSection(section: 'post'); fill(after, given) }
    void parallel(Closure given) { def all = new StagesSection(section: 'parallel'); fill(all, given); parallelStages = all.stages }
    void check() {
        need((body == null) != (parallelStages == null), "${section}: has either steps or parallel")
        need(body == null || label as boolean, "${section}: has no agent, and the pipeline has none")
        need(parallelStages == null || parallelStages, "${section}: has no stages")
    }
}

class PipelineSection extends Section {
    boolean agentNone
    Map options = [:]
    ParametersSection parametersFound = new ParametersSection(section: 'parameters')
    Map environmentFound = [:]
    List<StageSection> stagesFound = []
    PostSection after
    void agent(Object which) { need(which == 'none', 'only `agent none` is known for a pipeline'); agentNone = true }
    void options(Closure given) { def found = new OptionsSection(section: 'options'); fill(found, given); options = found.found }
    void parameters(Closure given) { fill(parametersFound, given) }
    void environment(Closure given) { def found = new EnvironmentSection(); fill(found, given); environmentFound = found.values }
    void stages(Closure given) { def found = new StagesSection(section: 'stages'); fill(found, given); stagesFound = found.stages }
    void post(Closure given) { after = new PostSection(section: 'post'); fill(after, given) }
}

/** The files of a build, and how it stands. */
class Build {
    File project
    File output
    Map<String, String> variables = [:]
    String result = 'SUCCESS'
    Semaphore executors = new Semaphore(2)
    int workspaces = 0

    synchronized void worsen(String to) {
        def order = ['SUCCESS', 'UNSTABLE', 'FAILURE']
        if (order.indexOf(to) > order.indexOf(result)) { result = to }
    }

    synchronized void say(String text) { println text }

    synchronized File newWorkspace() { new File(output, "workspaces/${++workspaces}").canonicalFile }

    /** Copy the files under `root` that match one of Ant's patterns, `a/**, b/c.xml`; return how many. */
    static int copy(File root, String patterns, File target) {
        def matchers = patterns.split(',').collect { FileSystems.default.getPathMatcher("glob:${it.trim()}") }
        int copied = 0
        Path from = root.toPath()
        if (!Files.isDirectory(from)) { return 0 }
        root.eachFileRecurse { File file ->
            Path name = from.relativize(file.toPath())
            if (file.isFile() && matchers.any { it.matches(name) }) {
                Path to = target.toPath().resolve(name.toString())
                Files.createDirectories(to.parent)
                Files.copy(file.toPath(), to, StandardCopyOption.REPLACE_EXISTING)
                copied++
            }
        }
        return copied
    }
}

/** The steps, on one agent. A word that is no step is looked up in the Jenkinsfile, then refused. */
class Steps {
    Build build
    String stage
    File workspace
    Map<String, String> variables

    void run(Closure body) {
        def copy = (Closure) body.clone()
        copy.delegate = this
        copy.resolveStrategy = Closure.DELEGATE_FIRST
        copy.call()
    }

    File folder() {
        if (workspace == null) { throw new Failed("stage '${stage}': this step needs an agent") }
        return workspace
    }

    void echo(String text) { build.say("[${stage}] ${text}") }

    void sh(String script) {
        File file = File.createTempFile('step', '.sh', build.output)
        file.text = script
        def starter = new ProcessBuilder('/bin/sh', '-xe', file.path).directory(folder()).redirectErrorStream(true)
        starter.redirectInput(new File('/dev/null'))
        starter.environment().putAll(variables)
        def process = starter.start()
        process.inputStream.eachLine { build.say("[${stage}] ${it}") }
        int code = process.waitFor()
        if (code != 0) { throw new Failed("stage '${stage}': script returned exit code ${code}") }
    }

    /** Returns what a stage's own agent has in its environment, and nobody else. */
    Map<String, String> checkout(Object scm) {
        def git = ['git', 'clone', '-q', build.project.path, folder().path].execute()
        if (git.waitFor() != 0) { throw new Failed("git clone: ${git.err.text}") }
        String commit = ['git', '-C', folder().path, 'rev-parse', 'HEAD'].execute().text.trim()
        return [GIT_COMMIT: commit, GIT_BRANCH: 'origin/main', GIT_URL: build.project.path]
    }

    void node(String label, Closure body) {
        build.executors.acquire()
        try {
            def there = new Steps(build: build, stage: stage, workspace: build.newWorkspace())
            there.variables = variables + [WORKSPACE: there.workspace.path, NODE_LABELS: label, STAGE_NAME: stage]
            there.workspace.mkdirs()
            there.run(body)
        } finally {
            build.executors.release()
        }
    }

    void script(Closure body) { run(body) }

    void timeout(Map given, Closure body) { run(body) }

    void withEnv(List<String> given, Closure body) {
        def before = variables
        variables = variables + given.collectEntries { it.toString().split('=', 2) as List }
        try {
            run(body)
        } finally {
            variables = before
        }
    }

    Map string(Map given) { given }

    /** A secret is what the id says. */
    void withCredentials(List<Map> given, Closure body) {
        withEnv(given.collect { "${it.variable}=${it.credentialsId}".toString() }, body)
    }

    void catchError(Map given, Closure body) {
        try {
            run(body)
        } catch (Failed failure) {
            build.say("ERROR: ${failure.message}")
            build.worsen('FAILURE')
        }
    }

    void junit(Map given) {
        File target = new File(build.output, "junit/${stage}")
        int files = Build.copy(folder(), given.testResults, target)
        if (files == 0) {
            if (!given.allowEmptyResults) { throw new Failed("No test report files were found: ${given.testResults}") }
            return
        }
        target.eachFileRecurse { file ->
            if (file.isFile() && new XmlParser().parse(file).'**'.any { it.name() in ['failure', 'error'] }) {
                build.worsen('UNSTABLE')
            }
        }
    }

    void stash(Map given) {
        int files = Build.copy(folder(), given.includes, new File(build.output, "stashes/${given.name}"))
        if (files == 0 && !given.allowEmpty) { throw new Failed("No files included in stash '${given.name}'") }
        new File(build.output, "stashes/${given.name}").mkdirs()
    }

    void unstash(Object name) {
        File stash = new File(build.output, "stashes/${name}")
        if (!stash.isDirectory()) { throw new Failed("No such saved stash '${name}'") }
        Build.copy(stash, '**', folder())
    }

    void archiveArtifacts(Map given) {
        int files = Build.copy(folder(), given.artifacts, new File(build.output, 'archive'))
        if (files == 0 && !given.allowEmptyArchive) { throw new Failed('No artifacts found') }
    }

    void publishHTML(Map given) {
        Map target = given.target
        int files = Build.copy(new File(folder(), target.reportDir), target.reportFiles, new File(build.output, "html/${target.reportName}"))
        if (files == 0 && !target.allowMissing) { throw new Failed("no ${target.reportFiles} in ${target.reportDir}") }
    }
}

/** Runs what was read. */
class Runner {
    Build build
    PipelineSection pipeline

    int run() {
        boolean failed = !inOrder(pipeline.stagesFound)
        def steps = new Steps(build: build, stage: 'Declarative: Post Actions', variables: build.variables)
        if (!after(pipeline.after, steps, failed)) { build.worsen('FAILURE') }
        build.say("Finished: ${build.result}")
        return build.result == 'SUCCESS' ? 0 : 1
    }

    boolean inOrder(List<StageSection> stages) {
        boolean good = true
        for (stage in stages) {
            if (good) {
                good = one(stage)
            } else {
                build.say("Stage '${stage.name}' skipped due to earlier failure(s)")
            }
        }
        return good
    }

    boolean one(StageSection stage) {
        if (stage.condition != null && !stage.condition.call()) {
            build.say("Stage '${stage.name}' skipped due to when conditional")
            return true
        }
        if (stage.parallelStages != null) { return together(stage.parallelStages) }
        boolean good = true
        new Steps(build: build, stage: stage.name, variables: build.variables).node(stage.label) {
            def steps = (Steps) delegate
            try {
                steps.variables += steps.checkout(null)
                steps.run(stage.body)
            } catch (Failed failure) {
                build.say("ERROR: ${failure.message}")
                build.worsen('FAILURE')
                good = false
            }
            good = after(stage.after, steps, !good) && good
        }
        build.say("Stage '${stage.name}' ${good ? 'ended well' : 'failed'}")
        return good
    }

    boolean together(List<StageSection> stages) {
        def results = Collections.synchronizedMap([:])
        def threads = stages.collect { stage ->
            results[stage.name] = false // and stays so where this program is at fault
            Thread.start {
                try {
                    results[stage.name] = one(stage)
                } catch (Throwable fault) {
                    build.say("FAULT in stage '${stage.name}': ${fault}\n${fault.stackTrace.findAll { it.fileName?.endsWith('.groovy') }}")
                }
            }
        }
        threads*.join()
        boolean good = results.values().every()
        if (!good) { build.worsen('FAILURE') }
        return good
    }

    boolean after(PostSection post, Steps steps, boolean failed) {
        boolean good = true
        for (name in ['always', failed ? 'failure' : 'success']) {
            Closure body = post?.bodies?.get(name)
            if (body == null) { continue }
            try {
                steps.run(body)
            } catch (Failed failure) {
                build.say("Error when executing ${name} post condition: ${failure.message}")
                build.worsen('FAILURE')
                good = false
            }
        }
        return good
    }
}

abstract class PipelineScript extends Script {
    PipelineSection pipelineFound

    void pipeline(Closure body) {
        Section.need(pipelineFound == null, 'there are two pipelines')
        pipelineFound = new PipelineSection(section: 'pipeline')
        Section.fill(pipelineFound, body)
        Section.need(pipelineFound.agentNone && pipelineFound.stagesFound, 'a pipeline has an agent and stages')
    }
}

def (jenkinsfile, project, output) = args[0..2].collect { new File(it).canonicalFile }
def (set, given) = args.drop(3).collect { it.split('=', 2) as List }.split { it[0].startsWith('env.') }*.collectEntries { it }
set = set.collectEntries { name, value -> [name - 'env.', value] }
output.mkdirs()
def binding = new Binding([none: 'none', any: 'any', scm: 'scm', params: [:], env: set])
def configuration = new CompilerConfiguration(scriptBaseClass: PipelineScript.name)
def script = new GroovyShell(this.class.classLoader, binding, configuration).parse(jenkinsfile.text, 'TheJenkinsfile.groovy')
try {
    script.run()
    def parameters = script.pipelineFound.parametersFound
    given.each { name, value ->
        Section.need(parameters.choices[name]*.toString()?.contains(value), "parameter ${name}: no choice is ${value}")
        parameters.defaults[name] = parameters.choices[name].find { it.toString() == value }
    }
    binding.params.putAll(parameters.defaults)
} catch (Refused | MissingPropertyException | MissingMethodException refused) {
    println "Jenkinsfile: ${refused.message}"
    System.exit(2)
}
def variables = [JENKINS_URL: 'http://127.0.0.1:1/', BUILD_URL: 'http://127.0.0.1:1/job/sample/1/', BUILD_NUMBER: '1',
    JOB_NAME: 'sample', BRANCH_NAME: 'main']
variables += script.pipelineFound.environmentFound + binding.params.collectEntries { name, value -> [name, value.toString()] }
variables += set
def build = new Build(project: project, output: output, variables: variables)
System.exit(new Runner(build: build, pipeline: script.pipelineFound).run())
