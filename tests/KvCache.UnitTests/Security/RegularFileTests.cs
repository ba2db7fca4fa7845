using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using KvCache.Engine.Security;
using KvCache.Files;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>What stands in the place of a file neither stops who reads it nor is read.</summary>
public sealed class RegularFileTests : IDisposable
{
    private const int Limit = 100;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-files-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_file_is_read_whatever_size_the_kernel_tells()
    {
        Assert.Equal("a secret", Text(RegularFile.Read(Write("file", "a secret"), Limit)));
        Assert.Empty(RegularFile.Read(Write("empty", ""), Limit));
        Assert.Equal(Limit, RegularFile.Read(Write("full", new string('x', Limit)), Limit).Length);
        Assert.Equal(File.ReadAllBytes("/proc/self/cmdline"), RegularFile.Read("/proc/self/cmdline", 1 << 20));

        var link = PathOf("link");
        File.CreateSymbolicLink(link, PathOf("file"));
        Assert.Equal("a secret", Text(RegularFile.Read(link, Limit)));
    }

    [Fact]
    public void What_is_no_file_is_told_at_once()
    {
        Refused<IOException>(MakeFifo("fifo"), "is a FIFO; a file was expected");
        Refused<IOException>("/dev/zero", "is a device; a file was expected");
        Refused<IOException>(_folder.FullName, "is a folder; a file was expected");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(PathOf("socket")));
        Refused<IOException>(PathOf("socket"), "cannot be opened");
        Refused<IOException>(Write("large", new string('x', Limit + 1)), "has more than 100 bytes");
        Refused<FileNotFoundException>(PathOf("nowhere"), "No such file");
    }

    [Fact]
    public void What_is_written_in_one_step_goes_through_nothing_that_lies_there()
    {
        var path = Write("book", "old");
        var precious = Write("precious", "precious");
        File.CreateSymbolicLink(path + ".new", precious);
        RegularFile.Replace(path, "new"u8, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        MakeFifo("book.new");
        RegularFile.Replace(path, "newer"u8, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal("newer", File.ReadAllText(path));
        Assert.Equal("precious", File.ReadAllText(precious));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
    }

    [Fact]
    public void A_value_stays_when_its_file_becomes_a_fifo_and_that_is_told_once()
    {
        var path = Write("secret", "one");
        var live = new LiveFile<string>("Setting", [path], contents => Text(contents[0]));
        File.Delete(path);
        MakeFifo("secret");
        Assert.True(live.Refresh(out var problem));
        Assert.Contains("Setting: ", problem, StringComparison.Ordinal);
        Assert.Contains("is a FIFO", problem, StringComparison.Ordinal);
        Assert.False(live.Refresh(out _));
        Assert.Equal("one", live.Value);
        File.Delete(path);
        Write("secret", "two");
        Assert.True(live.Refresh(out problem));
        Assert.Null(problem);
        Assert.Equal("two", live.Value);
    }

    [Fact]
    public void A_clients_secret_follows_its_file_and_stays_when_that_cannot_be_used()
    {
        var told = new List<string>();
        var path = Write("secret", "\n one \ntwo\n");
        var secret = new ClientSecret("", path) { Refused = told.Add };
        Assert.Equal("one", secret.Value);
        Write("secret", "two");
        Assert.Equal("two", secret.Value);
        Write("secret", "\n\n");
        Assert.Equal("two", secret.Value);
        Assert.Equal("two", secret.Value);
        Assert.Contains("has no line with a secret", Assert.Single(told), StringComparison.Ordinal);
        File.Delete(path);
        MakeFifo("secret");
        Assert.Equal("two", secret.Value);
        Assert.Equal(2, told.Count);
        Assert.Throws<IOException>(() => new ClientSecret("", path));
        Assert.Throws<IOException>(() => new ClientSecret("both", Write("other", "secret")));
    }

    private static void Refused<T>(string path, string expected)
        where T : IOException
    {
        var error = Assert.Throws<T>(() => RegularFile.Read(path, Limit));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
    }

    private static string Text(byte[] bytes) => Encoding.UTF8.GetString(bytes);

    private string PathOf(string name) => Path.Combine(_folder.FullName, name);

    private string Write(string name, string text)
    {
        File.WriteAllText(PathOf(name), text);
        return PathOf(name);
    }

    private string MakeFifo(string name)
    {
        using var program = Process.Start("mkfifo", PathOf(name));
        program.WaitForExit();
        Assert.Equal(0, program.ExitCode);
        return PathOf(name);
    }
}
