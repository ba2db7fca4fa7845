using System.Diagnostics;
using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.Text;

namespace KvCache.ProcessTests.Documents;

/// <summary>
/// A program of one file, compiled against what lies beside the tests: a second or less, where the SDK takes ten for a project of its own.
/// Disposing deletes it.
/// </summary>
internal sealed class CompiledProgram : IDisposable
{
    private const string ImplicitUsings =
        "global using System; global using System.IO; global using System.Linq; global using System.Collections.Generic; "
        + "global using System.Net.Http; global using System.Threading; global using System.Threading.Tasks;";

    // Directives such as #:project say what the SDK is to reference; here it is there already.
    private static readonly CSharpParseOptions Language = CSharpParseOptions.Default
        .WithLanguageVersion(LanguageVersion.Latest).WithFeatures([new("FileBasedProgram", "true")]);

    private static readonly Lazy<MetadataReference[]> References = new(() =>
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Select(path => MetadataReference.CreateFromFile(path)),
    ]);

    private readonly string _path;

    private CompiledProgram(string path) => _path = path;

    /// <summary>Compiles a program; a mistake in it fails the test with the compiler's words.</summary>
    /// <param name="name">Of the assembly.</param>
    /// <param name="text">The program.</param>
    public static CompiledProgram Of(string name, string text)
    {
        var compilation = CSharpCompilation.Create(
            name,
            [
                CSharpSyntaxTree.ParseText(SourceText.From(text, Encoding.UTF8), Language, $"{name}.cs"),
                CSharpSyntaxTree.ParseText(ImplicitUsings, Language),
            ],
            References.Value,
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable));

        // Beside the assemblies that it uses, which is where they and their native libraries are looked for.
        var program = new CompiledProgram(Path.Combine(AppContext.BaseDirectory, $"{name}.dll"));
        using (var file = File.Create(program._path))
        {
            var errors = compilation.Emit(file).Diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error);
            Assert.Empty(errors.Select(error => error.ToString()));
        }

        return program;
    }

    /// <summary>The command that runs it.</summary>
    /// <param name="environment">Variables besides the inherited ones.</param>
    public ProcessStartInfo Command(params (string Name, string Value)[] environment)
    {
        var ours = Path.Combine(AppContext.BaseDirectory, typeof(CompiledProgram).Assembly.GetName().Name!);
        return ProgramCommand.Of(
            "dotnet", ["exec", "--runtimeconfig", $"{ours}.runtimeconfig.json", "--depsfile", $"{ours}.deps.json", _path], environment);
    }

    public void Dispose() => File.Delete(_path);
}
