//! Python's pickle format, as far as saved tensors need it. Nothing is run: a call stays a call.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A pickled value.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    Int(i64),
    Text(String),
    /// Truth values, fractions and bytes: no part of a tensor's description.
    Other,
    Tuple(Rc<[Value]>),
    List(Rc<RefCell<Vec<Value>>>),
    /// In the order of insertion; a key may come twice, the later one counts.
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    /// A class or function by module and name.
    Global(Rc<(String, String)>),
    /// What to call, with what.
    Call(Rc<(Value, Value)>),
    /// A value kept outside the pickle, by its id.
    Persistent(Rc<Value>),
    /// Start of a list of arguments on the stack.
    Mark,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn int(&self) -> Option<i64> {
        if let Self::Int(int) = self { Some(*int) } else { None }
    }

    pub fn tuple(&self) -> Option<&[Value]> {
        if let Self::Tuple(items) = self { Some(items) } else { None }
    }

    pub fn persistent(&self) -> Option<&Value> {
        if let Self::Persistent(id) = self { Some(id) } else { None }
    }

    /// The name of the function or class called, without its module, and the arguments.
    pub fn call(&self) -> Option<(&str, &[Value])> {
        let Self::Call(call) = self else { return None };
        let (Self::Global(function), Self::Tuple(arguments)) = &**call else { return None };
        Some((&function.1, arguments))
    }

    fn dict() -> Self {
        Self::Dict(Rc::default())
    }
}

/// A pickle read.
pub struct Pickle {
    /// What it holds.
    pub value: Value,
    /// The ids of everything kept outside it.
    pub persistent: Vec<Value>,
    /// How many bytes it took.
    pub length: usize,
}

/// Reads the pickle that `bytes` begin with.
///
/// # Errors
/// What is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine { rest: bytes, ..Machine::default() };
    while machine.step()? {}
    let value = machine.pop()?;
    let length = bytes.len() - machine.rest.len();
    Ok(Pickle { value, persistent: machine.persistent, length })
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    persistent: Vec<Value>,
}

impl<'a> Machine<'a> {
    /// One instruction; false after the last.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.byte()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'0' => drop(self.pop()?),
            b'(' => self.stack.push(Value::Mark),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Rc::new((module, name))));
            }
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => self.recall(code)?,
            b'Q' => {
                let id = self.pop()?;
                self.persistent.push(id.clone());
                self.stack.push(Value::Persistent(Rc::new(id)));
            }
            b's' | b'u' | b'a' | b'e' | b'b' => self.fill(code)?,
            _ => {
                let value = self.value(code)?;
                self.stack.push(value);
            }
        }
        Ok(true)
    }

    /// The value that an instruction without side effects leaves on the stack.
    fn value(&mut self, code: u8) -> Result<Value, String> {
        Ok(match code {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Other,
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            b'G' => self.other(8)?,
            // Python 2 wrote its names as byte strings.
            b'X' | b'T' => Value::Text(self.text_of_length4()?),
            b'U' | 0x8c => {
                let length = self.byte()?;
                Value::Text(self.text(length.into())?)
            }
            b'C' => {
                let length = self.byte()?;
                self.other(length.into())?
            }
            b'B' => {
                let length = u32::from_le_bytes(self.array()?);
                self.other(length as usize)?
            }
            b')' => Value::Tuple(Rc::new([])),
            b't' => Value::Tuple(self.pop_to_mark()?.into()),
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84));
                let from = from.ok_or("too few values on its stack")?;
                Value::Tuple(self.stack.split_off(from).into())
            }
            b']' | 0x8f => Value::List(Rc::default()),
            b'}' => Value::dict(),
            b'd' => Value::Dict(Rc::new(RefCell::new(pairs(self.pop_to_mark()?)))),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = module.text().zip(name.text()).ok_or("a class without a name")?;
                Value::Global(Rc::new((names.0.to_owned(), names.1.to_owned())))
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                match &callable {
                    Value::Global(name) if name.1 == "OrderedDict" => Value::dict(),
                    _ => Value::Call(Rc::new((callable, arguments))),
                }
            }
            other => return Err(format!("instruction {other:#04x} is not known")),
        })
    }

    /// Instructions that put something into what lies below on the stack.
    fn fill(&mut self, code: u8) -> Result<(), String> {
        let items = match code {
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            b'a' | b'b' => vec![self.pop()?],
            _ => self.pop_to_mark()?,
        };
        match (self.stack.last(), code) {
            (Some(Value::Dict(dict)), b's' | b'u') => dict.borrow_mut().extend(pairs(items)),
            (Some(Value::List(list)), b'a' | b'e') => list.borrow_mut().extend(items),
            // An object's attributes: none of them is a tensor of a state.
            (Some(_), b'b') => {}
            _ => return Err("items for something that takes none".into()),
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<(), String> {
        let at = match code {
            b'q' => self.byte()?.into(),
            b'r' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32,
        };
        let value = self.stack.last().ok_or("an empty stack")?;
        self.memo.insert(at, value.clone());
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<(), String> {
        let at = match code {
            b'h' => self.byte()?.into(),
            _ => u32::from_le_bytes(self.array()?),
        };
        let value = self.memo.get(&at).ok_or("a reference to nothing")?;
        self.stack.push(value.clone());
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "an empty stack".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let items = self.stack.split_off(mark.ok_or("no mark on its stack")? + 1);
        self.stack.pop();
        Ok(items)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("it ends too early")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn other(&mut self, length: usize) -> Result<Value, String> {
        self.take(length).map(|_| Value::Other)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or("it ends too early")?;
        let line = self.text(end)?;
        self.take(1)?;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn text_of_length4(&mut self) -> Result<String, String> {
        let length = u32::from_le_bytes(self.array()?);
        self.text(length as usize)
    }

    /// A signed integer of any length; one beyond 64 bits is no number that a tensor needs.
    fn long(&mut self) -> Result<Value, String> {
        let length = self.byte()?;
        let digits = self.take(length.into())?;
        if digits.len() > 8 {
            return Ok(Value::Other);
        }
        let negative = digits.last().is_some_and(|last| last & 0x80 != 0);
        let mut all = if negative { [0xff; 8] } else { [0; 8] };
        all[..digits.len()].copy_from_slice(digits);
        Ok(Value::Int(i64::from_le_bytes(all)))
    }
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}
