using System.Diagnostics;
using System.Xml.Linq;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>The packages of this build in a local feed, and fresh programs that are built against them.</summary>
public sealed class PackageFeed : IAsyncLifetime
{
    private const string Configuration =
#if DEBUG
        "Debug";
#else
        "Release";
#endif

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly string _root = Directory.CreateTempSubdirectory("kvcache-packages-").FullName;

    public string Folder => Path.Combine(_root, "feed");

    public async ValueTask InitializeAsync() => await RunAsync(
        "dotnet", $"pack {Path.Combine(Repository.Root, "KvCache.sln")} --no-build --no-restore -c {Configuration} -o {Folder} -nologo -v "
            + "quiet -warnaserror");

    public ValueTask DisposeAsync()
    {
        Directory.Delete(_root, recursive: true);
        return default;
    }

    public string PackageOf(string id) =>
        Directory.GetFiles(Folder, $"{id}.*.nupkg").Single(file => char.IsAsciiDigit(Path.GetFileName(file)[id.Length + 1]));

    /// <summary>Builds a program of one file and one package, and returns its output folder.</summary>
    /// <param name="name">Name of the program.</param>
    /// <param name="package">The package of ours.</param>
    /// <param name="program">The file.</param>
    /// <param name="other">A package of somebody else, in the version that the repository names.</param>
    public async Task<string> BuildAsync(string name, string package, string program, string? other = null)
    {
        var folder = Directory.CreateDirectory(Path.Combine(_root, name)).FullName;
        var version = Path.GetFileNameWithoutExtension(PackageOf(package))[(package.Length + 1)..];
        var cached = Environment.GetEnvironmentVariable("NUGET_PACKAGES")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        await File.WriteAllTextAsync(Path.Combine(folder, $"{name}.csproj"), $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
                <TreatWarningsAsErrors>true</TreatWarningsAsErrors>
                <UseAppHost>false</UseAppHost>
                <CreateHardLinksForCopyLocalIfPossible>true</CreateHardLinksForCopyLocalIfPossible>
                <RestorePackagesPath>{Path.Combine(_root, "packages")}</RestorePackagesPath>
                <RestoreFallbackFolders>{cached}</RestoreFallbackFolders>
                <RestoreAdditionalProjectSources>{Folder}</RestoreAdditionalProjectSources>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="{package}" Version="{version}" />
                {(other is null ? "" : $"""<PackageReference Include="{other}" Version="{VersionOf(other)}" />""")}
              </ItemGroup>
            </Project>
            """);
        await File.WriteAllTextAsync(Path.Combine(folder, "Program.cs"), program);
        var output = Path.Combine(folder, "out");
        await RunAsync("dotnet", $"build {folder} -c Release -o {output} -nologo -v quiet");
        return output;
    }

    private static string VersionOf(string package) => XDocument.Load(Path.Combine(Repository.Root, "Directory.Packages.props"))
        .Descendants("PackageVersion").Single(version => version.Attribute("Include")!.Value == package).Attribute("Version")!.Value;

    /// <summary>Runs a program to its end and returns what it printed.</summary>
    public static async Task<string> RunAsync(string program, string arguments)
    {
        using var process =
            Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        using var patience = new CancellationTokenSource(Patience);
        var output = process.StandardOutput.ReadToEndAsync(patience.Token);
        var error = process.StandardError.ReadToEndAsync(patience.Token);
        await process.WaitForExitAsync(patience.Token);
        Assert.True(process.ExitCode == 0, $"{program} {arguments} ended with {process.ExitCode}:\n{await output}\n{await error}");
        return (await output).Trim();
    }
}
